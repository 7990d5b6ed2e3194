"""Arrays from files that a stranger may have made: no code in them is run, and none takes more memory than its file."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from whaleid.core.errors import WhaleidError

T = TypeVar("T")
Array = npt.NDArray[Any]
HELD = 2**30
"""Bytes of scores that are held in memory."""


def read(path: Path, kinds: Mapping[str, str]) -> dict[str, Array]:
    """Return the arrays that `kinds` names of an npz file that `np.savez` wrote.

    `kinds` says of each what it holds, as `np.dtype.kind` does: `f`, `i`, `u` or `U`.

    Raises:
        WhaleidError: the file is not there, not whole, packed, or lacks an array of that kind.
    """

    def taken() -> dict[str, Array]:
        with zipfile.ZipFile(path) as packed:
            if sum(each.file_size for each in packed.infolist()) > path.stat().st_size:
                raise ValueError("it is packed, or holds its content twice")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in kinds}
        for name, array in found.items():
            _check(name, array, kinds[name])
        return found

    return _whole(path, taken)


def mapped(path: Path, dtype: npt.DTypeLike, dimensions: int) -> Array:
    """Map the array that an npy file holds, of `dtype` and so many `dimensions`: nothing is read before it is used.

    Raises:
        WhaleidError: the file is not there, not whole, or holds another array.
    """

    def taken() -> Array:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.dtype != dtype or array.ndim != dimensions:
            raise ValueError(f"it holds {array.dtype} of shape {array.shape}")
        return array

    return _whole(path, taken)


def room(count: int, shape: tuple[int, int], folder: Path) -> list[npt.NDArray[np.float32]]:
    """Return `count` arrays of `shape`, float32, their values undefined; beyond `HELD` bytes in an unnamed file.

    The file is in `folder`. The system keeps of it in memory what it has room for, and removes it with this process.
    """
    size = shape[0] * shape[1] * np.dtype(np.float32).itemsize
    if count * size <= HELD:
        return [np.empty(shape, dtype=np.float32) for _ in range(count)]
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(count * size)
        if hasattr(os, "posix_fallocate"):  # raises now if the disk is full, not in the middle
            os.posix_fallocate(file.fileno(), 0, count * size)
        return [np.memmap(file, np.float32, "r+", offset=number * size, shape=shape) for number in range(count)]


def _check(name: str, array: Array, kind: str) -> None:
    if array.dtype.kind != kind or array.dtype.hasobject:
        raise ValueError(f"its {name} are {array.dtype}")


def _whole(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except FileNotFoundError:
        raise
    except Exception as error:  # by the bytes that they meet, numpy and zipfile raise nearly anything
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise WhaleidError(f"{path} cannot be used ({reason}). Make or fetch it anew.") from None
