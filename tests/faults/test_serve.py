"""The served model under several clients: what tests/faults/serve.py does for ten minutes, for some seconds."""

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
    """Names a whale after the photo's content; the first call waits until it is told to go on."""

    def __init__(self) -> None:
        self.go_on, self.batches = Event(), list[int]()

    def identify(self, photos: Sequence[Query]) -> list[Answer]:
        self.go_on.wait(10)
        self.batches.append(len(photos))
        if any(photo.content == b"harm" for photo in photos):
            raise RuntimeError("harm was done")
        return [Answer(photo.name, [Candidate(photo.content.decode(), 1.0, "")]) for photo in photos]


def table(*contents: bytes) -> pd.DataFrame:
    return pd.DataFrame({"photo": [base64.b64encode(content).decode() for content in contents]})


def test_who_waits_is_answered_together_and_each_by_his_own_answer() -> None:
    echo = Echo()
    served = ServedModel(cast(Recogniser, echo))
    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(served.predict, table(f"{number}".encode(), b"other")) for number in range(40)]
        while served._waiting.qsize() < 2 * 40 - BATCH:  # the first batch is with the recogniser
            pass
        echo.go_on.set()
        for number, answer in enumerate(asked):
            assert answer.result()["names"].tolist() == [[str(number)], ["other"]]
    assert sum(echo.batches) == 80
    assert max(echo.batches) == BATCH


def test_who_is_at_fault_fails_alone() -> None:
    echo = Echo()
    served = ServedModel(cast(Recogniser, echo))
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(served.predict, table(content)) for content in (b"one", b"harm", b"two")]
        echo.go_on.set()
        with pytest.raises(RuntimeError, match="harm was done"):
            asked[1].result()
        assert [asked[place].result()["names"].tolist() for place in (0, 2)] == [[["one"]], [["two"]]]
    assert served.predict(table(b"later"))["names"].tolist() == [["later"]]


@pytest.mark.long
def test_many_at_once_are_answered_as_one_by_one(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WHALEID_TRACKING", raising=False)
    from faults import serve

    monkeypatch.setattr(serve, "BAD", 0.2)  # so that every kind of them comes
    monkeypatch.setattr(serve, "GROWTH", 200)  # in some seconds what a server needs is not all there yet
    shutil.copytree(trained, tmp_path / "project", ignore=shutil.ignore_patterns("cache"))
    figures = serve.measure(tmp_path / "project", "final", minutes=0.1, clients=6)
    assert figures["faults"] == []
    assert figures["grown"] == []
    assert min(figures["requests"].values()) > 0
