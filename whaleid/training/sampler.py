"""The batches of an epoch: which photos they hold, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from whaleid.model.batches import batch_count, shuffled_batches

if TYPE_CHECKING:
    from whaleid.config import Training

Rows = npt.NDArray[np.int64]
"""(R, K): K photos of one class in each row, as indices of the training photos."""


def sample_batches(classes: npt.NDArray[np.int64], settings: Training, generator: np.random.Generator) -> list[Rows]:
    """Return the batches of one epoch, (P, K) each: `batch_size` photos at most, K = `per_whale` of a class together.

    The number of batches and their sizes are the same in every epoch. `classes` is (N,).
    """
    rows = oversample(classes, settings.oversample, settings.per_whale, generator)
    size = settings.batch_size // settings.per_whale
    if settings.per_whale == 1:
        return shuffled_batches(rows, size, generator)
    return spread(rows, classes[rows[:, 0]], size, generator)


def oversample(classes: npt.NDArray[np.int64], minimum: int, per_whale: int, generator: np.random.Generator) -> Rows:
    """Return every photo in rows (R, K) of one class, sorted by class; `classes` is (N,), K is `per_whale`.

    Photos of a class with fewer than `minimum` are repeated, and so are those that fill its last row: all equally
    often, give or take one.
    """
    order = generator.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]  # by class, in random order within each
    _, starts = np.unique(classes[order], return_index=True)
    rows = []
    for photos in np.split(order, starts[1:]):
        count = -(-max(len(photos), minimum) // per_whale)
        rows.append(np.resize(photos, (count, per_whale)))  # starts again after the last photo
    return np.concatenate(rows)


def spread(rows: Rows, classes: npt.NDArray[np.int64], size: int, generator: np.random.Generator) -> list[Rows]:
    """Return all of `rows` (R, K) in batches of at most `size`, each class spread over as many batches as possible.

    `classes` (R,), in random order, are dealt out like cards, so batches differ by one row at most. Only a class with
    more rows than there are batches is in one of them twice.
    """
    turns = generator.permutation(classes.max() + 1)[classes]
    order = generator.permutation(len(rows))
    order = order[np.argsort(turns[order], kind="stable")]
    count = batch_count(len(rows), size)
    return [rows[order[first::count]] for first in generator.permutation(count)]
