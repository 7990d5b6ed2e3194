"""Outputs are written under a temporary name, then renamed.

A full disk or a kill in mid-write leaves the last whole output where it was. The next run of the same stage overwrites
what a kill left under the temporary name. One process at a time may write an output: DVC never runs a stage twice at
once in a folder; what several commands share, such as a catalogue and caches, is locked by its users.
"""

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` if the block succeeds, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with _named(path, temporary):
            temporary.unlink(missing_ok=True)  # what a kill left may be a link to somebody's file
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):  # the error that led here is the one to raise
            temporary.unlink()


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `folder`; put it in its place if the block succeeds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.partial")
    before = folder.with_name(f".{folder.name}.before")
    for left in (temporary, before):
        shutil.rmtree(left, ignore_errors=True)
    try:
        with _named(folder, temporary):
            temporary.mkdir()
            yield temporary
            if folder.exists():
                folder.replace(before)
            try:
                temporary.replace(folder)
            except OSError:
                if before.exists():
                    before.replace(folder)
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file, and what a killed process left under its temporary name."""
    for each in (path, _temporary(path)):
        each.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.partial{path.suffix}")


@contextmanager
def _named(path: Path, temporary: Path) -> Iterator[None]:
    """Name `path` in errors of the system: `write` names no file, and `temporary` means nothing to a user."""
    try:
        yield
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # raised by numpy
            raise OSError(errno.EIO, f"Not written ({error})", str(path)) from error
        unnamed = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        if unnamed or (error.filename is not None and Path(error.filename).is_relative_to(temporary)):
            error.filename = str(path)
        raise


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` without its index; the same values give the same bytes everywhere."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n", encoding="utf-8")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a file that `write_csv` wrote. Columns of text stay text: an `Id` such as `007` or `nan` is kept."""
    text = ["Image", "Id", "part", "role", "mode", "sha256", "phash", "query", "photo", "whale", "truth"]
    text += ["representative", "reason", "labels", "label1", "label2", "label3", "label4", "label5"]
    return pd.read_csv(path, keep_default_na=False, na_values={}, dtype=dict.fromkeys(text, str))


def write_json(value: Mapping[str, object], path: Path) -> None:
    """Write `value` as indented JSON, keys in their order, floats with six significant digits."""
    rounded = {key: float(f"{x:.6g}") if isinstance(x, float) else x for key, x in value.items()}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
