"""Select the photos that a variant is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE

if TYPE_CHECKING:
    from whaleid.config import Training


def select(labelled: pd.DataFrame, variant: str, settings: Training) -> pd.DataFrame:
    """Select the training photos of a variant.

    Args:
        labelled: candidate photos, with the columns `Image` and `Id`.
        variant: name of the variant, for errors.
        settings: `whales`, `photos`, `min_photos` and `new_whale` select photos; the loss and the batch size determine
            how many are required.

    Returns:
        The columns `Image` and `Id`, sorted by Image: the first photos by name of the whales with the most photos
        (ties by name), and the `new_whale` photos if they are a class.

    Raises:
        WhaleidError: there are fewer whales than `whales`, fewer than two classes, too few whales for a batch, or no
            whale with two photos although the loss compares photos of a whale.
    """
    train = labelled[["Image", "Id"]].sort_values("Image")
    unnamed = train["Id"] == NEW_WHALE
    whales = train[~unnamed]
    whales = whales[whales.groupby("Id")["Image"].transform("size") >= settings.min_photos]
    if settings.whales != "all":
        counts = whales["Id"].value_counts()
        # ties by name: value_counts would order them by the order of rows
        order = sorted(counts.index, key=lambda whale: (-counts[whale], whale))
        if len(order) < settings.whales:
            raise WhaleidError(
                f"variants.{variant}.train.whales is {settings.whales}, but only {len(order)} whales have "
                f"{settings.min_photos} or more photos to train on. Set it to all, or to at most {len(order)}, in "
                "params.yaml."
            )
        whales = whales[whales["Id"].isin(order[: settings.whales])]
    if settings.photos != "all":
        whales = whales.groupby("Id", sort=False).head(settings.photos)
    selected = pd.concat([whales, train[unnamed]]) if settings.new_whale else whales
    _check_enough(selected["Id"].value_counts(), variant, settings)
    return selected.sort_values("Image", ignore_index=True)


def _check_enough(counts: pd.Series[int], variant: str, settings: Training) -> None:
    """Check that `counts`, the number of photos of each class, suffice for the loss and for a batch."""
    if len(counts) < 2:
        raise WhaleidError(
            f"variants.{variant} needs at least two classes, but has {len(counts)}. Add labelled photos of other "
            f"whales, or lower variants.{variant}.train.min_photos."
        )
    if settings.loss.kind == "triplet" and counts.max() < 2:
        raise WhaleidError(
            f"variants.{variant}.train.loss: triplet compares two photos of a whale, but each of the "
            f"{len(counts):,} whales has one photo to train on. Use another loss, or add photos."
        )
    whales_per_batch = settings.batch_size // settings.per_whale
    if settings.per_whale > 1 and len(counts) < whales_per_batch:
        raise WhaleidError(
            f"variants.{variant}: a batch of {settings.batch_size} with {settings.per_whale} photos per whale needs "
            f"{whales_per_batch} whales, but there are {len(counts)} to train on. Set "
            f"variants.{variant}.train.batch_size to at most {len(counts) * settings.per_whale}, or increase per_whale."
        )
