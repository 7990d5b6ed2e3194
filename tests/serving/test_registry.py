"""A model in the registry, which of them is champion, and MLflow's own server answering as `identify` does."""

import base64
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import packages_distributions
from pathlib import Path

import pandas as pd
import pytest
from helpers.closure import closure, imports
from helpers.servers import model_server
from helpers.terminal import whaleid

from whaleid import config, tracking
from whaleid.core import paths
from whaleid.core.errors import WhaleidError
from whaleid.serving import about as description
from whaleid.serving import bundle as contents
from whaleid.serving import making, model, registry
from whaleid.serving.about import About
from whaleid.serving.embedder import Query
from whaleid.serving.model import Served
from whaleid.serving.recogniser import Recogniser
from whaleid.serving.registry import Version

MODEL = Path("models/final.bundle")
FIRST = Version("1", "final", 0.7, "photos", "d", "champion", "")


@pytest.fixture(scope="module")
def about(trained: Path) -> About:
    return description.read(trained / MODEL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("map5", "validation", "other", "alias", "why"),
    [
        (0.8, "photos", None, "champion", "the first to be registered"),
        (0.8, "photos", FIRST, "champion", "MAP@5 0.8000 on validation, where version 1 (final) has 0.7000"),
        (0.7, "photos", FIRST, "champion", "MAP@5 0.7000 on validation, where version 1 (final) has 0.7000"),
        (0.6, "photos", FIRST, "challenger", "MAP@5 0.6000 on validation, where version 1 (final) has 0.7000"),
        (
            0.6,
            "others",
            FIRST,
            "champion",
            "validation has changed since version 1 (final) was measured: the newer one leads",
        ),
        (
            None,
            "photos",
            FIRST,
            "challenger",
            "there is no MAP@5 on validation to compare with that of version 1 (final)",
        ),
        (0.6, "photos", replace(FIRST, map5=None), "challenger", "there is no MAP@5 on validation to compare with"),
    ],
)
def test_the_better_one_is_champion(
    about: About, map5: float | None, validation: str, other: Version | None, alias: str, why: str
) -> None:
    figures = {} if map5 is None else {"map5": map5}
    chosen, reason = registry.choose_alias(
        about.model_copy(update={"figures": figures, "validation": validation}), other
    )
    assert (chosen, reason[: len(why)]) == (alias, why)


MODULES = """
import sys
from types import ModuleType
import whaleid.serving.model

loaded = [module for name, module in sys.modules.items() if name.startswith("whaleid")]
used = [value.__name__ for module in loaded for value in vars(module).values() if isinstance(value, ModuleType)]
print(*used)
"""
"""Prints the modules that whaleid's modules hold once the model is imported, by whatever way they were imported."""


def test_the_model_asks_for_all_that_its_code_imports_and_no_more() -> None:
    command = [sys.executable, "-c", MODULES]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout.split()
    static = {name for module in closure("whaleid.serving.model") for name in imports(module)}
    outside = {name.split(".")[0] for name in [*static, *loaded]}
    outside -= {"whaleid", "timm", "distributed"}  # timm only for models of its own, distributed only with WHALEID_DASK
    known = packages_distributions()
    # the shortest of several: ruamel.yaml.clib is a part of ruamel.yaml
    asked = {min(known[name], key=len).lower() for name in outside if name in known}
    assert asked == {name.lower() for name in registry.REQUIREMENTS}


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to the trained project, with a store of the test's own."""
    monkeypatch.chdir(trained)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.delenv("WHALEID_TRACKING", raising=False)
    return trained


def registered(folder: Path, alias: str | None = None) -> Version:
    with tracking.run("register", ["final"]) as run:
        return registry.register(run.ids["final"], folder, alias)


@pytest.mark.slow
def test_a_server_of_mlflow_answers_as_identify_does(here: Path, tmp_path: Path) -> None:
    assert registry.champion() is None
    first = registered(MODEL)
    assert (first.number, first.alias, first.why) == ("1", "champion", "the first to be registered")
    assert registry.champion() == first
    assert registered(MODEL) == first  # what is champion already stays the version that it is

    lower = tmp_path / "lower.bundle"
    making.write(config.load(paths.PARAMS), "final", lower, threshold=0.0)
    second = registered(lower)
    assert (second.number, second.alias) == ("2", "challenger")
    assert second.why.startswith(f"MAP@5 {second.map5:.4f} on validation, where version 1 (final) has")
    third = registered(lower, "champion")
    assert third.why == f"chosen by hand; by its figures it is a challenger: {second.why}"
    assert registered(MODEL, "stable").alias == "stable"

    assert description.read(registry.download("models:/whaleid@champion")).digest == description.read(lower).digest
    assert description.read(registry.download("models:/whaleid/1")).digest == description.read(MODEL).digest
    with pytest.raises(WhaleidError, match=r"There is no model models:/whaleid@none in sqlite:.*whaleid register"):
        registry.download("models:/whaleid@none")

    photos = sorted(Path("data/sample/test").iterdir())[:3]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one.jpg").write_bytes(photos[0].read_bytes())
    (tmp_path / "out.jpg").write_bytes(photos[0].read_bytes())
    (tmp_path / "photos/link.jpg").symlink_to(tmp_path / "out.jpg")
    allowed = (tmp_path / "photos").as_uri()
    cells = [base64.b64encode(path.read_bytes()).decode() for path in photos]
    cells += [f"data:image/jpeg;base64,{cells[0]}", f"{allowed}/one.jpg", (tmp_path / "out.jpg").as_uri()]
    cells += [f"{allowed}/../out.jpg", f"{allowed}/link.jpg", "no base64!", ""]
    with model_server("models:/whaleid/1", WHALEID_PHOTOS=allowed) as address:
        asked = json.dumps({"dataframe_split": {"columns": ["photo"], "data": [[cell] for cell in cells]}})
        request = urllib.request.Request(f"{address}/invocations", asked.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answered:
            rows = json.load(answered)["predictions"]
    expected = Recogniser(contents.read(MODEL)).identify([Query(str(path), path.read_bytes()) for path in photos])
    for row, answer in zip([*rows[:3], rows[3], rows[4]], [*expected, expected[0], expected[0]], strict=True):
        assert row["names"] == [name.whale for name in answer.names]
        assert row["probabilities"] == pytest.approx([name.probability for name in answer.names], abs=2e-4)
        assert row["nearest"] == [name.nearest for name in answer.names]
        assert row["same_as"] == [each.photo for each in answer.same]
        assert row["problem"] == ""
    said = [row["problem"] for row in rows[5:]]
    assert all(
        text.endswith("may not be read: WHALEID_PHOTOS of the server names the places that may.") for text in said[:3]
    )
    assert said[3] == "This is neither base64 nor a data:, file: or http(s): URI."
    assert said[4].endswith("an empty file")
    assert [row["names"] for row in rows[5:]] == [[]] * 5


@pytest.mark.slow
def test_without_tracking_nothing_is_registered(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHALEID_TRACKING", "off")
    assert registry.champion() is None
    done = whaleid("register")
    assert (done.returncode, done.stdout) == (1, "")
    assert "tracking is off: unset WHALEID_TRACKING" in done.stderr


@pytest.mark.slow
def test_a_store_that_is_not_there_is_not_made(here: Path, tmp_path: Path) -> None:
    assert registry.champion() is None
    with pytest.raises(WhaleidError, match="There is no MLflow store"):
        registry.download("models:/whaleid@champion")
    assert not (tmp_path / "store.db").exists()


class Nobody:
    """Answers no photo: what is asked for does not come so far."""

    def identify(self, photos: list[Query]) -> list[object]:
        assert not photos
        return []


def problems(*cells: object) -> list[str]:
    return Served(Nobody()).predict(pd.DataFrame({"photo": list(cells)}))["problem"].tolist()  # type: ignore[arg-type]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Serve a folder with a photo, and an address that leads elsewhere."""
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

    assert issubclass(Handler, BaseHTTPRequestHandler)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_addresses_are_read_only_where_they_may_be(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_is_no_photo_is_answered_with_its_problem() -> None:
    neither = "This is neither base64 nor a data:, file: or http(s): URI."
    assert problems("no base64!", "ftp://host/photo.jpg", "data:image/jpeg;base64,%%%") == [neither] * 3
    assert problems(7) == ["A photo is text: its file in base64, or a URI; this is int."]
    assert problems() == []
