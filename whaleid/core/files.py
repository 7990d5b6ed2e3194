"""Whole files or none: outputs are written to a temporary name, then renamed.

A kill or a full disk in mid-write leaves the last whole output where it was.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` if the block ends well, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        with _named(path, temporary):
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):  # on a disk that takes nothing, the error that led here is the one to tell
            temporary.unlink()


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `folder`; put it in its place if the block ends well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    before = folder.with_name(f".{folder.name}.{os.getpid()}.before")
    shutil.rmtree(temporary, ignore_errors=True)
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


@contextmanager
def _named(path: Path, temporary: Path) -> Iterator[None]:
    """Say of an error of writing that it is of `path`: `write` names no file, and nobody knows `temporary`."""
    try:
        yield
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # of numpy
            raise OSError(errno.EIO, f"Not written ({error})", str(path)) from error
        unnamed = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        if unnamed or (error.filename is not None and Path(error.filename).is_relative_to(temporary)):
            error.filename = str(path)
        raise


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` without its index: the same values give the same bytes everywhere."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n", encoding="utf-8")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a file that `write_csv` wrote. Columns of text stay text: an `Id` such as `007` or `nan` is kept."""
    text = ["Image", "Id", "part", "role", "mode", "sha256", "phash", "query", "photo", "whale", "truth"]
    text += ["representative", "reason", "labels", "label1", "label2", "label3", "label4", "label5"]
    return pd.read_csv(path, keep_default_na=False, na_values={}, dtype=dict.fromkeys(text, str))


def write_json(value: Mapping[str, object], path: Path) -> None:
    """Write `value` as indented JSON with its keys in the order given; floats to six significant digits."""
    rounded = {key: float(f"{x:.6g}") if isinstance(x, float) else x for key, x in value.items()}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
