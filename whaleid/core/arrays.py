"""Arrays from files of unknown origin: no code in them is run, and none takes more memory than its file."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from whaleid.core.errors import WhaleidError, first_line

T = TypeVar("T")
Array = npt.NDArray[Any]
MAX_MEMORY = 2**30
"""Bytes of scores that are kept in memory."""


def read(path: Path, kinds: Mapping[str, str]) -> dict[str, Array]:
    """Read the arrays named in `kinds` from an npz file that `np.savez` wrote.

    `kinds` maps each name to its `np.dtype.kind`: `f`, `i`, `u` or `U`.

    Raises:
        FileNotFoundError: the file does not exist.
        WhaleidError: the file is not whole, compressed, or lacks an array of that kind.
    """

    def load() -> dict[str, Array]:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise ValueError("it is packed, or holds its content twice")
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in kinds}
        for name, array in arrays.items():
            if array.dtype.kind != kinds[name] or array.dtype.hasobject:
                raise ValueError(f"its {name} are {array.dtype}")
        return arrays

    return _checked(path, load)


def memory_map(path: Path, dtype: npt.DTypeLike, dimensions: int) -> Array:
    """Map the array of an npy file, with this `dtype` and number of `dimensions`: a part is read when it is used.

    Raises:
        FileNotFoundError: the file does not exist.
        WhaleidError: the file is not whole, or holds another array.
    """

    def load() -> Array:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.dtype != dtype or array.ndim != dimensions:
            raise ValueError(f"it holds {array.dtype} of shape {array.shape}")
        return array

    return _checked(path, load)


def allocate(count: int, shape: tuple[int, int], folder: Path) -> list[npt.NDArray[np.float32]]:
    """Return `count` arrays of `shape`, float32, with undefined values; above `MAX_MEMORY` bytes in an unnamed file.

    The file is in `folder`. The system keeps as much of it in memory as it can, and removes it with this process.
    """
    size = shape[0] * shape[1] * np.dtype(np.float32).itemsize
    if count * size <= MAX_MEMORY:
        return [np.empty(shape, dtype=np.float32) for _ in range(count)]
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(count * size)
        if hasattr(os, "posix_fallocate"):  # a full disk is an error now, not in the middle
            os.posix_fallocate(file.fileno(), 0, count * size)
        return [np.memmap(file, np.float32, "r+", offset=number * size, shape=shape) for number in range(count)]


def _checked(path: Path, load: Callable[[], T]) -> T:
    try:
        return load()
    except FileNotFoundError:
        raise
    except Exception as error:  # on damaged bytes numpy and zipfile raise nearly anything
        raise WhaleidError(f"{path} cannot be used ({first_line(error)}). Make or fetch it anew.") from None
