"""The served model under several clients: what tests/faults/serve.py does for ten minutes, for some seconds."""

import shutil
from pathlib import Path

import pytest

from whaleid import paths

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def test_many_at_once_are_answered_as_one_by_one(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests/faults")
    monkeypatch.delenv("WHALEID_TRACKING", raising=False)
    import serve

    monkeypatch.setattr(serve, "BAD", 0.2)  # so that every kind of them comes
    monkeypatch.setattr(serve, "GROWTH", 200)  # in some seconds what a server needs is not all there yet
    shutil.copytree(trained, tmp_path / "project", ignore=shutil.ignore_patterns("cache"))
    figures = serve.measure(tmp_path / "project", paths.FINAL, minutes=0.1, clients=6)
    assert figures["faults"] == []
    assert figures["grown"] == []
    assert min(figures["requests"].values()) > 0
