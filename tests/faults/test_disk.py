"""Disks that cannot be written to: errors name the file and a remedy, and existing files stay intact."""

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
from whaleid.serving import additions


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with four photos of two whales, and a catalogue of two others."""
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(("new/ann", "new/ann", "new/bob", "new/bob", "old/eve", "old/eve")):
        path = Path(folder, f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
    importer.run("old", Path("whales"), importer.Options())
    return tmp_path


def command_error(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Run a whaleid command that fails, and return its error."""
    monkeypatch.setattr(sys, "argv", ["whaleid", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return str(caught.value)


def raise_no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_write_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, files.replacing(tmp_path / "a.csv"):
        raise_no_space()
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


def test_if_a_folder_cannot_be_renamed_the_previous_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with files.replacing_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("old")
    original_replace = Path.replace

    def failing_replace(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise_no_space()
        return original_replace(self, target)

    monkeypatch.setattr(Path, "replace", failing_replace)
    with pytest.raises(OSError, match="No space"), files.replacing_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("new")
    assert [(path.name, (path / "a").read_text()) for path in tmp_path.iterdir()] == [("out", "old")]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "error: No space left on device: here. Free some space (`dvc gc --workspace` removes files"),
        (errno.EDQUOT, "error: Disk quota exceeded: here. Free some space"),
        (errno.EROFS, "error: Read-only file system: here. Make sure that you have permission to read and write there"),
        (errno.EACCES, "error: Permission denied: here. Make sure that you have permission to read and write there"),
        (errno.EISDIR, "error: Is a directory: here. There is a file where a folder is expected"),
        (errno.EIO, "error: Input/output error: here. Check the free space, the limit on the size"),
    ],
)
def test_the_command_line_names_a_remedy(monkeypatch: pytest.MonkeyPatch, number: int, message: str) -> None:
    import os

    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "here")

    monkeypatch.setattr(app, "app", fails)
    assert command_error(monkeypatch).startswith(message)


@pytest.mark.parametrize("failing", ["1.png", "boxes.csv", "train.csv"])
def test_an_import_that_fails_is_undone(workspace: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    table = [f"new/ann/{number}.png,ann,0,0,0.5,0.5" for number in (0, 1)]
    Path("new.csv").write_text("\n".join(["photo,whale,x0,y0,x1,y1", *table]))
    before = contents(workspace)
    write_bytes, to_csv = Path.write_bytes, pd.DataFrame.to_csv

    def failing_write_bytes(self: Path, content: bytes) -> int:
        if f".{Path(failing).stem}." in self.name:
            raise_no_space()
        return write_bytes(self, content)

    def failing_to_csv(self: pd.DataFrame, path: Path, **options: object) -> None:
        if f".{Path(failing).stem}." in path.name:
            raise_no_space()
        to_csv(self, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", failing_write_bytes)
        patch.setattr(pd.DataFrame, "to_csv", failing_to_csv)
        for to in ("whales", "others"):
            message = command_error(patch, "import", "new.csv", "--to", to)
            assert message.startswith("error: No space left on device: ")
            assert Path(failing).stem in message
    assert contents(workspace) == before
    importer.run("new.csv", Path("whales"), importer.Options())
    assert len(pd.read_csv("whales/train.csv")) == 4


@pytest.mark.parametrize("failing", ["boxes.csv", "train.csv"])
def test_an_import_is_undone_if_its_tables_cannot_be_renamed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    Path("new.csv").write_text("photo,whale,x0,y0,x1,y1\nnew/ann/0.png,ann,0,0,0.5,0.5\n")
    before = contents(workspace)
    original_replace = Path.replace

    def failing_replace(self: Path, target: Path) -> Path:
        if target.name == failing:
            monkeypatch.setattr(Path, "replace", original_replace)
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        return original_replace(self, target)

    for to in ("whales", "others"):
        monkeypatch.setattr(Path, "replace", failing_replace)
        assert "Permission denied" in command_error(monkeypatch, "import", "new.csv", "--to", to)
        assert contents(workspace) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["import new --to whales", "import new --to others", "duplicates new --out copies"])
def test_a_full_disk(workspace: Path, tmp_path: Path, command: str) -> None:
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
                changes = differences(before, contents(small))
            assert result.code == 1, result.text
            assert result.error.startswith("error: No space left on device: ")
            assert changes == ["new filler"]
            with read_only(small):
                result = call(small, command, cache_folder)
            assert result.error.startswith("error: Read-only file system: ")
            assert call(small, command, cache_folder).code == 0
    except PermissionError as error:
        pytest.skip(f"no disk can be mounted here: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["import new --to whales", "import new --to others", "duplicates new --out copies"])
def test_files_that_cannot_grow(workspace: Path, tmp_path_factory: pytest.TempPathFactory, command: str) -> None:
    cache_folder = tmp_path_factory.mktemp("kept")
    before = contents(workspace)
    result = call(workspace, command, cache_folder, limit_file_size(100))  # a semaphore file needs 32
    assert result.code == 1, result.text
    assert result.error.startswith("error: File too large: ")
    assert differences(before, contents(workspace)) == []
    assert call(workspace, command, cache_folder).code == 0


def test_embeddings_that_cannot_be_cached_are_only_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert not additions.save(tmp_path / "file" / "a.npz", {"toy": np.zeros((2, 3), dtype=np.float32)})
    assert capsys.readouterr().err == (
        f"Embeddings cannot be cached in {tmp_path / 'file'} (File exists); the next command computes them again.\n"
    )
    cache_file = tmp_path / "cache" / "a.npz"
    assert additions.save(cache_file, {"toy": np.zeros((2, 3), dtype=np.float32)})
    embeddings = additions.load(cache_file, ["toy"])
    assert embeddings is not None
    assert embeddings["toy"].shape == (2, 3)
    content = cache_file.read_bytes()
    np.save(tmp_path / "one.npy", np.zeros(3))
    for damaged in (b"", content[:-30], b"?" * len(content), (tmp_path / "one.npy").read_bytes()):
        cache_file.write_bytes(damaged)
        assert additions.load(cache_file, ["toy"]) is None  # computed again
    assert additions.load(tmp_path / "nothing.npz", ["toy"]) is None
