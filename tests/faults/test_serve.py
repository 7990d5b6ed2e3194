"""A served model with several clients: a version of tests/faults/serve.py that takes seconds instead of ten minutes."""

import base64
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import cast

import pandas as pd
import pytest

from whaleid.serving.embedder import BATCH, Query
from whaleid.serving.model import ServedModel
from whaleid.serving.recogniser import Answer, Candidate, Recogniser

ROOT = Path(__file__).parents[2]


class Echo:
    """A recogniser that names a whale after the photo's content; its first call waits for the event `go_on`."""

    def __init__(self) -> None:
        self.go_on, self.batches = Event(), list[int]()

    def identify(self, photos: Sequence[Query]) -> list[Answer]:
        self.go_on.wait(10)
        self.batches.append(len(photos))
        if any(photo.content == b"invalid" for photo in photos):
            raise RuntimeError("invalid photo")
        return [Answer(photo.name, [Candidate(photo.content.decode(), 1.0, "")]) for photo in photos]


def table(*contents: bytes) -> pd.DataFrame:
    return pd.DataFrame({"photo": [base64.b64encode(content).decode() for content in contents]})


def test_waiting_requests_share_batches_and_each_gets_its_own_answer() -> None:
    echo = Echo()
    served = ServedModel(cast(Recogniser, echo))
    with ThreadPoolExecutor(40) as pool:
        futures = [pool.submit(served.predict, table(f"{number}".encode(), b"other")) for number in range(40)]
        while served._waiting.qsize() < 2 * 40 - BATCH:  # the first batch is with the recogniser
            pass
        echo.go_on.set()
        for number, future in enumerate(futures):
            assert future.result()["names"].tolist() == [[str(number)], ["other"]]
    assert sum(echo.batches) == 80
    assert max(echo.batches) == BATCH


def test_a_failing_request_does_not_affect_others() -> None:
    echo = Echo()
    served = ServedModel(cast(Recogniser, echo))
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(served.predict, table(content)) for content in (b"one", b"invalid", b"two")]
        echo.go_on.set()
        with pytest.raises(RuntimeError, match="invalid photo"):
            futures[1].result()
        assert [futures[index].result()["names"].tolist() for index in (0, 2)] == [[["one"]], [["two"]]]
    assert served.predict(table(b"later"))["names"].tolist() == [["later"]]


@pytest.mark.long
def test_parallel_requests_get_the_same_answers_as_single_ones(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WHALEID_TRACKING", raising=False)
    from faults import serve

    monkeypatch.setattr(serve, "INVALID_SHARE", 0.2)  # so that all kinds occur within seconds
    monkeypatch.setattr(serve, "MAX_GROWTH", 200)  # memory still grows during the first seconds
    shutil.copytree(trained, tmp_path / "project", ignore=shutil.ignore_patterns("cache"))
    figures = serve.measure(tmp_path / "project", "final", minutes=0.1, clients=6)
    assert figures["faults"] == []
    assert figures["grown"] == []
    assert min(figures["requests"].values()) > 0
