"""Rows of training photos in random batches."""

import numpy as np
import numpy.typing as npt


def shuffled_batches(
    rows: npt.NDArray[np.int64], size: int, generator: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Return all of `rows` (R, ...), shuffled, in batches of at most `size`, which differ by one row at most."""
    return np.array_split(generator.permutation(rows), batch_count(len(rows), size))


def batch_count(rows: int, size: int) -> int:
    """Return the number of batches of at most `size` rows; none has a single row, from which no batch norm learns."""
    return max(1, min(-(-rows // size), rows // 2))
