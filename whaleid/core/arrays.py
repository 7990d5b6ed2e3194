"""Read NumPy arrays from untrusted files, without running code and in no more memory than the size of the file."""

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
"""Bytes of scores above which they are stored in a file."""


def read(path: Path, kinds: Mapping[str, str]) -> dict[str, Array]:
    """Read the arrays named in `kinds` from an npz file that `np.savez` wrote.

    `kinds` maps the name of each array to its `np.dtype.kind`: `f`, `i`, `u` or `U`.

    Raises:
        FileNotFoundError: the file does not exist.
        WhaleidError: the file is truncated or compressed, or lacks an array of that name and kind.
    """

    def load() -> dict[str, Array]:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise ValueError("it is compressed, or contains overlapping members")
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in kinds}
        for name, array in arrays.items():
            if array.dtype.kind != kinds[name] or array.dtype.hasobject:
                raise ValueError(f"the dtype of {name} is {array.dtype}")
        return arrays

    return _load_checked(path, load)


def memory_map(path: Path, dtype: npt.DTypeLike, dimensions: int) -> Array:
    """Memory-map the array of an npy file. Its values are read from the file when they are used.

    Raises:
        FileNotFoundError: the file does not exist.
        WhaleidError: the file is truncated, or its array has another `dtype` or another number of `dimensions`.
    """

    def load() -> Array:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.dtype != dtype or array.ndim != dimensions:
            raise ValueError(f"it contains {array.dtype} of shape {array.shape}")
        return array

    return _load_checked(path, load)


def allocate(count: int, shape: tuple[int, int], folder: Path) -> list[npt.NDArray[np.float32]]:
    """Allocate `count` uninitialised float32 arrays of `shape`.

    Arrays of more than `MAX_MEMORY` bytes in total are memory-mapped from an unnamed file in `folder`. The operating
    system caches as much of the file in memory as it can, and deletes the file when this process ends.
    """
    size = shape[0] * shape[1] * np.dtype(np.float32).itemsize
    if count * size <= MAX_MEMORY:
        return [np.empty(shape, dtype=np.float32) for _ in range(count)]
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(count * size)
        if hasattr(os, "posix_fallocate"):  # raise the error of a full disk here, not while the arrays are filled
            os.posix_fallocate(file.fileno(), 0, count * size)
        return [np.memmap(file, np.float32, "r+", offset=index * size, shape=shape) for index in range(count)]


def _load_checked(path: Path, load: Callable[[], T]) -> T:
    try:
        return load()
    except FileNotFoundError:
        raise
    except Exception as error:  # numpy and zipfile raise many types of errors on damaged bytes
        raise WhaleidError(f"{path} cannot be used ({first_line(error)}). Run `dvc repro` to rebuild it.") from None
