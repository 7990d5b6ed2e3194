"""Random batches of row indices."""

import numpy as np
import numpy.typing as npt


def shuffled_batches(
    rows: npt.NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Shuffle `rows` (R, ...) and split them into batches of at most `batch_size`; sizes differ by at most one."""
    return np.array_split(generator.permutation(rows), batch_count(len(rows), batch_size))


def batch_count(rows: int, batch_size: int) -> int:
    """Return the number of batches of at most `batch_size` rows.

    Every batch has at least two rows, since batch norm cannot be trained on one: three rows are always one batch.
    """
    return max(1, min(-(-rows // batch_size), rows // 2))
