"""Which photos a variant learns from, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE

if TYPE_CHECKING:
    from whaleid.config import Training


def select(labelled: pd.DataFrame, variant: str, settings: Training) -> pd.DataFrame:
    """Choose the training photos of a variant.

    Args:
        labelled: `Image,Id` of the photos that may be learnt from.
        variant: its name, for errors.
        settings: how many whales it takes, how many photos of each, how few are too few; whether `new_whale` is a
            class; how batches are made.

    Returns:
        `Image,Id`, sorted by Image: of the whales with most photos (ties by name) the first photos by name, and
        the `new_whale` photos where the variant has that class.

    Raises:
        WhaleidError: fewer whales than asked for, fewer than two classes, fewer than a batch is made of, or no whale
            with the two photos that its loss compares.
    """
    train = labelled[["Image", "Id"]].sort_values("Image")
    unknown = train["Id"] == NEW_WHALE
    whales = train[~unknown]
    whales = whales[whales.groupby("Id")["Image"].transform("size") >= settings.min_photos]
    if settings.whales != "all":
        photos = whales["Id"].value_counts()
        # value_counts orders ties by first appearance; a name decides instead, whatever the order of photos
        order = sorted(photos.index, key=lambda whale: (-photos[whale], whale))
        if len(order) < settings.whales:
            raise WhaleidError(
                f"variants.{variant}.train.whales asks for {settings.whales} whales, but only {len(order)} have "
                f"{settings.min_photos} or more photos to train on: ask for at most {len(order)}, or for all."
            )
        whales = whales[whales["Id"].isin(order[: settings.whales])]
    if settings.photos != "all":
        whales = whales.groupby("Id", sort=False).head(settings.photos)
    chosen = pd.concat([whales, train[unknown]]) if settings.new_whale else whales
    counts = chosen["Id"].value_counts()
    if len(counts) < 2:
        raise WhaleidError(f"variants.{variant} has {len(counts)} classes to tell apart: it needs two or more.")
    if settings.loss.kind == "triplet" and counts.max() < 2:
        raise WhaleidError(
            f"variants.{variant}.train.loss: triplet compares two photos of a whale, but each of {len(counts):,} "
            "whales has one to train on. Take another loss, or add photos."
        )
    if settings.per_whale > 1 and len(counts) < settings.batch_size // settings.per_whale:
        raise WhaleidError(
            f"variants.{variant}: a batch of {settings.batch_size} with {settings.per_whale} photos together needs "
            f"{settings.batch_size // settings.per_whale} whales, but there are {len(counts)} to train on. Set "
            f"variants.{variant}.train.batch_size to {len(counts) * settings.per_whale} at most, or raise per_whale."
        )
    return chosen.sort_values("Image", ignore_index=True)


def views(
    classes: npt.NDArray[np.int64], oversample: int, per_whale: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return what an epoch shows, (R, K) indices of photos: K photos of one class in each of R rows, by class.

    Every photo is shown. A class with fewer than `oversample` photos, or whose photos fill no whole rows, repeats some:
    each as often as the next, give or take one.

    Args:
        classes: (N,) of the photos.
        oversample: views of a class, at least.
        per_whale: K.
        generator: draws which photos are together and which are repeated.
    """
    order = generator.permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]  # by class, in random order within each
    _, starts, counts = np.unique(classes[order], return_index=True, return_counts=True)
    wanted = np.maximum(counts, oversample)
    wanted += -wanted % per_whale
    # the photos of each class, again from the first after the last
    within = np.arange(wanted.sum()) - np.repeat(wanted.cumsum() - wanted, wanted)
    shown: npt.NDArray[np.int64] = order[np.repeat(starts, wanted) + within % np.repeat(counts, wanted)]
    return shown.reshape(-1, per_whale)


def deal(
    rows: npt.NDArray[np.int64], classes: npt.NDArray[np.int64], size: int, generator: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Return all of `rows` (R, K) in batches of about `size`, no two of a class in one where there is room for it.

    Class after class, in random order, they are dealt out like cards, so batches differ by one row at most. A class
    with more rows than there are batches meets itself.

    Args:
        rows: indices of photos, K of one class in each row.
        classes: (N,) of the photos.
        size: rows in a batch, at most.
        generator: draws which rows meet.
    """
    turn = generator.permutation(classes.max() + 1)[classes[rows[:, 0]]]
    order = generator.permutation(len(rows))
    order = order[np.argsort(turn[order], kind="stable")]
    count = steps(len(rows), size)
    return [rows[order[first::count]] for first in generator.permutation(count)]


def batches(rows: npt.NDArray[np.int64], size: int, generator: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """Return all of `rows` (R, ...), shuffled, in batches of about `size`.

    They differ by one row at most, so that no batch is too small for batch normalisation.
    """
    return np.array_split(generator.permutation(rows), steps(len(rows), size))


def steps(rows: int, size: int) -> int:
    """Return the number of batches in an epoch: of `size` rows at most, but where one would be left alone."""
    return max(1, min(-(-rows // size), rows // 2))
