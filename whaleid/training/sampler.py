"""Sample the batches of an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from whaleid.model.batches import batch_count, shuffled_batches

if TYPE_CHECKING:
    from whaleid.config import Training

Rows = npt.NDArray[np.int64]
"""Array (R, K) of indices of training photos. The K photos of a row have the same class."""


def sample_batches(classes: npt.NDArray[np.int64], settings: Training, generator: np.random.Generator) -> list[Rows]:
    """Sample the batches of one epoch from photos with the given `classes` (N,).

    A batch (P, K) has at most `batch_size` photos; K is `per_whale`. Every epoch has the same number of batches, of
    the same sizes.
    """
    rows = oversample(classes, settings.oversample, settings.per_whale, generator)
    size = settings.batch_size // settings.per_whale
    if settings.per_whale == 1:
        return shuffled_batches(rows, size, generator)
    return spread_classes(rows, classes[rows[:, 0]], size, generator)


def oversample(classes: npt.NDArray[np.int64], minimum: int, per_whale: int, generator: np.random.Generator) -> Rows:
    """Arrange all photos in rows (R, K) of one class, sorted by class; `classes` is (N,), K is `per_whale`.

    Photos are repeated until their class has at least `minimum` photos and its last row is full. The counts of the
    photos of a class differ by at most one.
    """
    order = generator.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]  # by class, in random order within a class
    _, starts = np.unique(classes[order], return_index=True)
    rows = []
    for photos in np.split(order, starts[1:]):
        count = -(-max(len(photos), minimum) // per_whale)
        rows.append(np.resize(photos, (count, per_whale)))  # repeats the photos from the first one
    return np.concatenate(rows)


def spread_classes(
    rows: Rows, classes: npt.NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> list[Rows]:
    """Split `rows` (R, K) into batches of at most `batch_size` rows, each class in as many batches as possible.

    Rows are sorted by class, with classes in random order, and assigned to batches round-robin. So batch sizes differ
    by at most one, and a batch has two rows of a class only if the class has more rows than there are batches.
    `classes` is (R,).
    """
    class_order = generator.permutation(classes.max() + 1)[classes]
    order = generator.permutation(len(rows))
    order = order[np.argsort(class_order[order], kind="stable")]
    count = batch_count(len(rows), batch_size)
    return [rows[order[first::count]] for first in generator.permutation(count)]
