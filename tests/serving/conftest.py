"""Fixtures: the trained project and a recogniser with its bundle."""

from pathlib import Path

import pytest

from whaleid.serving import bundle
from whaleid.serving.recogniser import Recogniser


@pytest.fixture
def in_project(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to the folder of the trained project."""
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture(scope="session")
def model(trained: Path) -> Recogniser:
    """Return a recogniser with the bundle of the trained project, loaded once."""
    return Recogniser(bundle.read(trained / "models/final.bundle"))


@pytest.fixture
def recogniser(in_project: Path, model: Recogniser) -> Recogniser:
    """Return the recogniser, in the folder of the trained project."""
    return model
