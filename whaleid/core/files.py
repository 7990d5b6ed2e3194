"""Write outputs atomically: under a temporary name, which is then renamed.

If the disk is full or the process is killed, the previous output stays as it was. The next run of the same stage
overwrites the temporary file of a killed process. Only one process at a time may write an output. DVC guarantees this
for the outputs of stages. Code that writes files shared by several commands, such as a catalogue or a cache, must hold
a lock.
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
    """Yield a temporary path in the folder of `path`. Rename it to `path` if the block succeeds, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with _name_in_errors(path, temporary):
            temporary.unlink(missing_ok=True)  # a killed process may have left a link to another file
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):  # keep the error of the block
            temporary.unlink()


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder in the parent of `folder`. It replaces `folder` if the block succeeds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.partial")
    previous = folder.with_name(f".{folder.name}.before")
    for leftover in (temporary, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with _name_in_errors(folder, temporary):
            temporary.mkdir()
            yield temporary
            if folder.exists():
                folder.replace(previous)
            try:
                temporary.replace(folder)
            except OSError:
                if previous.exists():
                    previous.replace(folder)
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file and the temporary file that a killed process may have left for it."""
    for file in (path, _temporary(path)):
        file.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.partial{path.suffix}")


@contextmanager
def _name_in_errors(path: Path, temporary: Path) -> Iterator[None]:
    """Set the file name of an OSError to `path`: the error names no file, or `temporary`, which users do not know."""
    try:
        yield
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # raised by numpy
            raise OSError(errno.EIO, f"Not written ({error})", str(path)) from error
        without_name = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        if without_name or (error.filename is not None and Path(error.filename).is_relative_to(temporary)):
            error.filename = str(path)
        raise


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write `frame` as CSV, without its index. Equal values give equal bytes on every platform."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n", encoding="utf-8")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a file that `write_csv` wrote. Text columns stay text, so an `Id` such as `007` or `nan` is preserved."""
    text = ["Image", "Id", "part", "role", "mode", "sha256", "phash", "query", "photo", "whale", "truth"]
    text += ["representative", "reason", "labels", "label1", "label2", "label3", "label4", "label5"]
    return pd.read_csv(path, keep_default_na=False, na_values={}, dtype=dict.fromkeys(text, str))


def write_json(value: Mapping[str, object], path: Path) -> None:
    """Write `value` as indented JSON. Keys keep their order; floats are rounded to six significant digits."""
    rounded = {key: float(f"{x:.6g}") if isinstance(x, float) else x for key, x in value.items()}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
