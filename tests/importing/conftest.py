"""Each test runs in its own empty folder."""

from pathlib import Path

import pytest
from helpers.imports import save, write


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos_by_whale() -> None:
    """Create a folder `photos` with one folder per whale."""
    save("photos/ann/1.png", 1)
    save("photos/ann/2019/2.jpg", 2)
    save("photos/bob/1.png", 3)
    save("photos/new_whale/x.JPEG", 4)
    write("photos/ann/notes.txt", "tall fin")
    write("photos/.DS_Store", "")
