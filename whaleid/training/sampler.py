"""Which photos a variant learns from, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.errors import WhaleidError
from whaleid.labels import NEW_WHALE

if TYPE_CHECKING:
    from whaleid.params import Variant


def select(split: pd.DataFrame, variant: str, settings: Variant) -> pd.DataFrame:
    """Choose the training photos of a variant.

    Args:
        split: `Image,Id,part,role` of every photo that is used.
        variant: its name, for errors.
        settings: how many whales it takes, and how many photos of each; whether `new_whale` is a class.

    Returns:
        `Image,Id`, sorted by Image: of the whales with most photos (ties by name) the first photos by name, and
        the `new_whale` photos where the variant has that class.

    Raises:
        WhaleidError: fewer whales than asked for, or fewer than two classes.
    """
    train = split.loc[split["part"] == "train", ["Image", "Id"]].sort_values("Image")
    unknown = train["Id"] == NEW_WHALE
    whales = train[~unknown]
    if settings.whales != "all":
        photos = whales["Id"].value_counts()
        # value_counts orders ties by first appearance; a name decides instead, whatever the order of photos
        order = sorted(photos.index, key=lambda whale: (-photos[whale], whale))
        if len(order) < settings.whales:
            raise WhaleidError(
                f"variants.{variant}.whales asks for {settings.whales} whales, but only {len(order)} have photos to "
                f"train on: ask for at most {len(order)}, or for all."
            )
        whales = whales[whales["Id"].isin(order[: settings.whales])]
    if settings.photos != "all":
        whales = whales.groupby("Id", sort=False).head(settings.photos)
    chosen = pd.concat([whales, train[unknown]]) if settings.new_whale else whales
    if chosen["Id"].nunique() < 2:
        raise WhaleidError(
            f"variants.{variant} has {chosen['Id'].nunique()} classes to tell apart: it needs two or more."
        )
    return chosen.sort_values("Image", ignore_index=True)


def batches(photos: int, size: int, generator: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """Yield one epoch: every index below `photos` once, in random order, in batches of about `size`.

    The batches differ by one photo at most, so that no batch is too small for batch normalisation.
    """
    order = generator.permutation(photos)
    yield from np.array_split(order, steps(photos, size))


def steps(photos: int, size: int) -> int:
    """Return the number of batches in an epoch: of `size` photos at most, but where one would be left alone."""
    return max(1, min(-(-photos // size), photos // 2))
