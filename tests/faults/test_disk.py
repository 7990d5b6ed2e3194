"""Disks that take nothing more: errors name the file and the remedy, and what was there before stays whole."""

import errno
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faults.disk import call, contents, differences, disk, fill, limit_file_size, read_only
from helpers.pictures import picture

from whaleid import cli
from whaleid.cli import app
from whaleid.core import files
from whaleid.importing import importer
from whaleid.importing.csv import Columns
from whaleid.serving import additions


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with four photos of two whales, and a catalogue of two others."""
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(("new/ann", "new/ann", "new/bob", "new/bob", "old/eve", "old/eve")):
        path = Path(folder, f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
    importer.run("old", Path("whales"), Columns(), None, link=False)
    return tmp_path


def refusal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Return what a command of whaleid's gives up with."""
    monkeypatch.setattr(sys, "argv", ["whaleid", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return str(caught.value)


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_of_writing_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, files.replacing(tmp_path / "a.csv"):
        no_room()
    assert caught.value.filename == str(tmp_path / "a.csv")
    with pytest.raises(OSError, match="No space") as caught, files.replacing_folder(tmp_path / "a") as temporary:
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary / "b.csv"))
    assert caught.value.filename == str(tmp_path / "a")
    with pytest.raises(OSError, match="requested") as caught, files.replacing(tmp_path / "a.npy"):
        raise OSError("100 requested and 9 written")
    assert caught.value.filename == str(tmp_path / "a.npy")
    with pytest.raises(FileNotFoundError) as caught, files.replacing(tmp_path / "a.csv"):
        Path("nowhere").read_bytes()
    assert caught.value.filename == "nowhere"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_renamed_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with files.replacing_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("whole")
    rename = Path.replace

    def full(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            no_room()
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"), files.replacing_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("ha")
    assert [(path.name, (path / "a").read_text()) for path in tmp_path.iterdir()] == [("out", "whole")]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "error: No space left on device: here. Free some space (`dvc gc --workspace` removes files"),
        (errno.EDQUOT, "error: Disk quota exceeded: here. Free some space"),
        (errno.EROFS, "error: Read-only file system: here. Make sure that you have permission to read and write there"),
        (errno.EACCES, "error: Permission denied: here. Make sure that you have permission to read and write there"),
        (errno.EISDIR, "error: Is a directory: here. There is a file where a folder is expected"),
        (errno.EIO, "error: Input/output error: here. Check the free space, the limit on the size"),
    ],
)
def test_the_command_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, number: int, said: str) -> None:
    import os

    def fails(**_: object) -> None:
        raise OSError(number, os.strerror(number), "here")

    monkeypatch.setattr(app, "app", fails)
    assert refusal(monkeypatch).startswith(said)


@pytest.mark.parametrize("failing", ["1.png", "boxes.csv", "train.csv"])
def test_an_import_that_fails_is_undone(photos: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    table = [f"new/ann/{number}.png,ann,0,0,0.5,0.5" for number in (0, 1)]
    Path("new.csv").write_text("\n".join(["photo,whale,x0,y0,x1,y1", *table]))
    before = contents(photos)
    writes, tables = Path.write_bytes, pd.DataFrame.to_csv

    def bytes_written(self: Path, content: bytes) -> int:
        if f".{Path(failing).stem}." in self.name:
            no_room()
        return writes(self, content)

    def table_written(self: pd.DataFrame, path: Path, **options: object) -> None:
        if f".{Path(failing).stem}." in path.name:
            no_room()
        tables(self, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", bytes_written)
        patch.setattr(pd.DataFrame, "to_csv", table_written)
        for to in ("whales", "others"):
            said = refusal(patch, "import", "new.csv", "--to", to)
            assert said.startswith("error: No space left on device: ")
            assert Path(failing).stem in said
    assert contents(photos) == before
    importer.run("new.csv", Path("whales"), Columns(), None, link=False)
    assert len(pd.read_csv("whales/train.csv")) == 4


@pytest.mark.parametrize("failing", ["boxes.csv", "train.csv"])
def test_an_import_whose_tables_cannot_get_their_names_is_undone(
    photos: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    Path("new.csv").write_text("photo,whale,x0,y0,x1,y1\nnew/ann/0.png,ann,0,0,0.5,0.5\n")
    before = contents(photos)
    renames = Path.replace

    def renamed(self: Path, target: Path) -> Path:
        if target.name == failing:
            monkeypatch.setattr(Path, "replace", renames)
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        return renames(self, target)

    for to in ("whales", "others"):
        monkeypatch.setattr(Path, "replace", renamed)
        assert "Permission denied" in refusal(monkeypatch, "import", "new.csv", "--to", to)
        assert contents(photos) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["import new --to whales", "import new --to others", "duplicates new --out copies"])
def test_a_disk_without_room(photos: Path, tmp_path: Path, command: str) -> None:
    cache_folder = tmp_path / "cache"
    try:
        with disk(8) as small:
            for name in ("new", "old"):
                for path in Path(name).rglob("*.png"):
                    (small / path).parent.mkdir(parents=True, exist_ok=True)
                    (small / path).write_bytes(path.read_bytes())
            call(small, "import old --to whales", cache_folder)
            before = contents(small)
            with fill(small, 8192):
                result = call(small, command, cache_folder)
                said = differences(before, contents(small))
            assert result.code == 1, result.text
            assert result.error.startswith("error: No space left on device: ")
            assert said == ["new filler"]
            with read_only(small):
                result = call(small, command, cache_folder)
            assert result.error.startswith("error: Read-only file system: ")
            assert call(small, command, cache_folder).code == 0
    except PermissionError as error:
        pytest.skip(f"no disk can be mounted here: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["import new --to whales", "import new --to others", "duplicates new --out copies"])
def test_files_that_cannot_grow(photos: Path, tmp_path_factory: pytest.TempPathFactory, command: str) -> None:
    cache_folder = tmp_path_factory.mktemp("kept")
    before = contents(photos)
    result = call(photos, command, cache_folder, limit_file_size(100))  # a semaphore of the system takes 32
    assert result.code == 1, result.text
    assert result.error.startswith("error: File too large: ")
    assert differences(before, contents(photos)) == []
    assert call(photos, command, cache_folder).code == 0


def test_embeddings_that_cannot_be_kept_are_only_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    assert not additions.save(tmp_path / "file" / "a.npz", {"toy": np.zeros((2, 3), dtype=np.float32)})
    assert capsys.readouterr().err == (f"{tmp_path / 'file'}: embeddings could not be cached (File exists).\n")
    cache_folder = tmp_path / "kept" / "a.npz"
    assert additions.save(cache_folder, {"toy": np.zeros((2, 3), dtype=np.float32)})
    found = additions.load(cache_folder, ["toy"])
    assert found is not None
    assert found["toy"].shape == (2, 3)
    whole = cache_folder.read_bytes()
    np.save(tmp_path / "one.npy", np.zeros(3))
    for damaged in (b"", whole[:-30], b"?" * len(whole), (tmp_path / "one.npy").read_bytes()):
        cache_folder.write_bytes(damaged)
        assert additions.load(cache_folder, ["toy"]) is None  # computed anew
    assert additions.load(tmp_path / "nothing.npz", ["toy"]) is None
