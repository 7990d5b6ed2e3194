"""The trained project and its model, loaded once."""

from pathlib import Path

import pytest

from whaleid.serving import bundle
from whaleid.serving.recogniser import Recogniser


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to the trained project."""
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture(scope="session")
def model(trained: Path) -> Recogniser:
    """Return a recogniser of the trained project's bundle."""
    return Recogniser(bundle.read(trained / "models/final.bundle"))


@pytest.fixture
def recogniser(here: Path, model: Recogniser) -> Recogniser:
    """Return that recogniser, in the trained project."""
    return model
