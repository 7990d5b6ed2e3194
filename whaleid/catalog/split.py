"""Split the labelled photos into training and validation, so that validation resembles future queries.

Validation has photos of known whales, of whales that are held out completely, and of `new_whale`, each with its `role`.
They are drawn from the unique photos. Their duplicates are excluded, so that no held-out photo has a copy in training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE

if TYPE_CHECKING:
    from whaleid.config import Split

Frame = TypeVar("Frame", pd.DataFrame, "pd.Series[str]")


@dataclass(frozen=True)
class Draws:
    """Random draws that depend on seed, fold and purpose only, so that draws for different purposes are independent."""

    seed: int
    fold: int

    def shuffled(self, items: Frame, purpose: str) -> Frame:
        """Return `items` in a random order. The permutation depends on their number, not on their values."""
        order = np.random.default_rng([self.seed, self.fold, *purpose.encode()]).permutation(len(items))
        return items.iloc[order]

    def sample(self, items: pd.Series[str], share: float, purpose: str) -> pd.Series[str]:
        """Draw a share of `items`, independently of their order."""
        return self.shuffled(items.sort_values(), purpose).iloc[: _count(share, len(items))]


def split(unique: pd.DataFrame, groups: pd.DataFrame, shares: Split, seed: int) -> pd.DataFrame:
    """Split the labelled photos into `train` and `validation`.

    Neither the order of rows nor their index changes the result. A larger share holds out the photos of the smaller
    share and additional ones; the other draws stay the same. Another `shares.fold` or `seed` gives another draw.

    Args:
        unique: `Image,Id`, one photo per duplicate group, none of conflicts.
        groups: `group,Image,part,Id`, every photo of every duplicate group.
        shares: The shares of whales and photos to hold out. Counts are rounded half up. A share above 0 holds out at
            least one if there are two or more; `known`, if above 0, holds out at least one even of a single whale.
        seed: The seed of all draws.

    Returns:
        `Image,Id,part,role`, sorted by `Image`. The values of `part` and `role` are:

        - `train`, `catalogue`: the training photos.
        - `validation`, `known`: one random photo of each of a share of the whales with two or more unique photos, and a
          further share of the other photos of these whales, except one. At least one photo of each is in `train`.
        - `validation`, `unknown`: all unique photos of a share of the whales with one photo, and of a share of the
          whales with several.
        - `validation`, `new_whale`: a share of the unique photos labelled `new_whale`.
        - `validation`, `duplicate`: copies of photos in `train`, and photos of conflicts, to measure how often the
          label of a duplicate is right.

        Copies of held-out photos are excluded, and so is the same share of conflicts. With `known` 1, `several` 0 and
        the other shares 0.1, the split follows the public re-split of Kaggle's competition.

    Raises:
        WhaleidError: no whale is left to train on, or no photo can be held out as `known`.
    """
    draws = Draws(seed, shares.fold)
    unique = unique[["Image", "Id"]].sort_values("Image", ignore_index=True)
    new_whale = unique.loc[unique["Id"] == NEW_WHALE, "Image"]
    named = unique[unique["Id"] != NEW_WHALE]
    is_single = ~named["Id"].duplicated(keep=False)

    singles = draws.sample(named.loc[is_single, "Id"], shares.unknown, "unknown single")
    several = draws.sample(named.loc[~is_single, "Id"].drop_duplicates(), shares.several, "unknown several")
    unknown = named["Id"].isin([*singles, *several])
    if unknown.all():
        raise WhaleidError(
            f"No whale is left to train on: all {named['Id'].nunique():,} whales are held out. Lower split.unknown or "
            "split.several in params.yaml, or add labelled photos."
        )
    roles = {
        "known": _known(named[~is_single], several, shares, draws),
        "unknown": named.loc[unknown, "Image"],
        "new_whale": draws.sample(new_whale, shares.new_whale, "new_whale"),
    }
    table = unique.assign(part="train", role="catalogue")
    for role, images in roles.items():
        table.loc[table["Image"].isin(images), ["part", "role"]] = ["validation", role]
    held_out = table.loc[table["part"] == "validation", "Image"]
    return pd.concat([table, _duplicates(unique, groups, held_out, draws)]).sort_values("Image", ignore_index=True)


def _known(photos: pd.DataFrame, unknown: pd.Series[str], shares: Split, draws: Draws) -> pd.Series[str]:
    """Draw the `known` photos: one, and further ones, of whales with several `photos` that are not `unknown`."""
    if shares.known == 0:
        return photos["Image"].iloc[:0]
    photos = draws.shuffled(photos, "known photo")
    position = photos.groupby("Id").cumcount()  # 0 may be held out; 1 always stays in training; others are `further`
    # shuffled before unknown whales are removed, so that other shares do not change the order
    first = draws.shuffled(photos[position == 0].sort_values("Id"), "known whale")
    first = first[~first["Id"].isin(unknown)]
    if first.empty:
        raise WhaleidError(
            f"split.known is {shares.known:g}, but no whale has two different photos, so none can be held out. (Whales "
            "held out completely do not count.) Set split.known to 0, lower split.several, or add labelled photos."
        )
    first = first.iloc[: max(_round(shares.known * len(first)), 1)]
    further = draws.shuffled(photos[position > 1].sort_values("Image"), "further photo")
    further = further[further["Id"].isin(first["Id"])]
    known: pd.Series[str] = pd.concat([first, further.iloc[: _count(shares.further, len(further))]])["Image"]
    return known


def _duplicates(unique: pd.DataFrame, groups: pd.DataFrame, held_out: pd.Series[str], draws: Draws) -> pd.DataFrame:
    """Return the labelled photos that are not unique, without copies of held-out photos.

    One random photo of each conflict is excluded, because groups with one label have a photo in `train`, too. Groups
    with a held-out photo are excluded. The same share of conflicts is excluded, so that the proportion is kept.
    """
    labelled = groups[groups["part"] == "train"].sort_values("Image")
    labelled = labelled[labelled["group"].duplicated(keep=False)]
    one_label = labelled.loc[labelled["Image"].isin(unique["Image"]), "group"]
    held_out_groups = labelled.loc[labelled["Image"].isin(held_out), "group"]
    copies = labelled[~labelled["Image"].isin(unique["Image"]) & ~labelled["group"].isin(held_out_groups)]

    conflict_photos = draws.shuffled(copies[~copies["group"].isin(one_label)], "conflict photo")
    conflict_photos = conflict_photos[conflict_photos["group"].duplicated()]
    conflicts = draws.shuffled(conflict_photos["group"].drop_duplicates().sort_values(), "conflict")
    share = 1 - len(held_out_groups) / len(one_label) if len(one_label) else 1.0
    selected = conflicts.iloc[: _round(share * len(conflicts))]
    selected_photos = conflict_photos[conflict_photos["group"].isin(selected)]
    copies = pd.concat([copies[copies["group"].isin(one_label)], selected_photos])
    return copies[["Image", "Id"]].assign(part="validation", role="duplicate")


def _count(share: float, number: int) -> int:
    """Return `share` of `number`, rounded; at least 1 if `share` is above 0 and `number` above 1."""
    return max(_round(share * number), 1 if share > 0 and number > 1 else 0)


def _round(count: float) -> int:
    """Round half up, ignoring errors of floating point: 0.29 * 50 is slightly less than 14.5."""
    return math.floor(round(count, 9) + 0.5)
