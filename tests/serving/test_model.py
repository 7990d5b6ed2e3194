"""The model that MLflow serves: photos in base64 or by URI, below the URIs that the server allows."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from whaleid.core.errors import WhaleidError
from whaleid.serving import model
from whaleid.serving.embedder import Query
from whaleid.serving.model import ServedModel


class UnusedRecogniser:
    """A recogniser for requests without readable photos."""

    def identify(self, queries: list[Query]) -> list[object]:
        assert not queries
        return []


def problems(*cells: object) -> list[str]:
    return ServedModel(UnusedRecogniser()).predict(pd.DataFrame({"photo": list(cells)}))["problem"].tolist()  # type: ignore[arg-type]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Serve a folder with photos and a redirect; return the URI of the server."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one.jpg").write_bytes(b"content")
    (tmp_path / "photos/large.jpg").write_bytes(bytes(model.MAX_BYTES + 1))
    (tmp_path / "secret").write_bytes(b"secret")

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/photos/moved.jpg":
                self.send_response(302)
                self.send_header("Location", "/secret")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_only_allowed_web_addresses_are_read(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(model.ALLOWED, raising=False)
    with pytest.raises(WhaleidError, match="may not be read"):
        model.content(f"{web}/photos/one.jpg")
    monkeypatch.setenv(model.ALLOWED, f"file:///nowhere/ {web}/photos/")
    assert model.content(f"{web}/photos/one.jpg") == b"content"
    for path in ("/secret", "/photos/../secret", "/photos/%2e%2e/secret", "/photos", "/photosecret"):
        with pytest.raises(WhaleidError, match="may not be read"):
            model.content(web + path)
    with pytest.raises(WhaleidError, match="may not be read"):
        model.content(f"{web.replace('127.0.0.1', 'localhost')}/photos/one.jpg")
    with pytest.raises(WhaleidError, match=r"moved\.jpg cannot be read"):
        model.content(f"{web}/photos/moved.jpg")
    with pytest.raises(WhaleidError, match=r"none\.jpg cannot be read"):
        model.content(f"{web}/photos/none.jpg")
    with pytest.raises(WhaleidError, match="is larger than 50,000,000 bytes"):
        model.content(f"{web}/photos/large.jpg")


def test_only_allowed_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    for path in ("photos/one.jpg", "secret.jpg"):
        (tmp_path / path).write_bytes(b"content")
    (tmp_path / "photos/link.jpg").symlink_to(tmp_path / "secret.jpg")
    folder = (tmp_path / "photos").as_uri()
    monkeypatch.setenv(model.ALLOWED, folder)
    assert model.content(f"{folder}/one.jpg") == b"content"
    for uri in ((tmp_path / "secret.jpg").as_uri(), f"{folder}/../secret.jpg", f"{folder}/link.jpg"):
        with pytest.raises(WhaleidError, match=r"may not be read\. Add its folder to WHALEID_PHOTOS"):
            model.content(uri)


def test_a_text_that_is_too_long_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_BYTES", 4)
    assert problems("!" * 9) == ["The photo's file is larger than 50,000,000 bytes."]
    assert model.content("YWJjZA==") == b"abcd"


def test_an_invalid_photo_is_answered_with_its_problem() -> None:
    neither = "This is neither base64 nor a data:, file: or http(s): URI."
    assert problems("no base64!", "ftp://host/photo.jpg", "data:image/jpeg;base64,%%%") == [neither] * 3
    assert problems(7) == ["A photo must be text: its file in base64, or a URI; this is int."]
    assert problems() == []
