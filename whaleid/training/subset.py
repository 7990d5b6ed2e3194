"""Which photos a variant learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        settings: `whales`, `photos`, `min_photos` and `new_whale` choose photos; the loss and the batches need enough.

    Returns:
        `Image,Id`, sorted by Image: the first photos by name of the whales with most photos (ties by name), and the
        `new_whale` photos where they are a class.

    Raises:
        WhaleidError: there are fewer whales than `whales`, fewer than two classes, fewer than a batch is made of, or no
            whale with the two photos that the loss compares.
    """
    train = labelled[["Image", "Id"]].sort_values("Image")
    unknown = train["Id"] == NEW_WHALE
    whales = train[~unknown]
    whales = whales[whales.groupby("Id")["Image"].transform("size") >= settings.min_photos]
    if settings.whales != "all":
        photos = whales["Id"].value_counts()
        # value_counts orders ties by first appearance; names do not depend on the order of rows
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
    _check_enough(chosen["Id"].value_counts(), variant, settings)
    return chosen.sort_values("Image", ignore_index=True)


def _check_enough(photos: pd.Series[int], variant: str, settings: Training) -> None:
    """Refuse `photos`, the number of photos of each class, where they are too few for the loss or a batch."""
    if len(photos) < 2:
        raise WhaleidError(f"variants.{variant} has {len(photos)} classes to tell apart: it needs two or more.")
    if settings.loss.kind == "triplet" and photos.max() < 2:
        raise WhaleidError(
            f"variants.{variant}.train.loss: triplet compares two photos of a whale, but each of {len(photos):,} "
            "whales has one to train on. Take another loss, or add photos."
        )
    whales_per_batch = settings.batch_size // settings.per_whale
    if settings.per_whale > 1 and len(photos) < whales_per_batch:
        raise WhaleidError(
            f"variants.{variant}: a batch of {settings.batch_size} with {settings.per_whale} photos together needs "
            f"{whales_per_batch} whales, but there are {len(photos)} to train on. Set "
            f"variants.{variant}.train.batch_size to {len(photos) * settings.per_whale} at most, or raise per_whale."
        )
