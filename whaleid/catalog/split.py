"""Divide the labelled photos into training and validation, so that validation resembles the queries to come.

Validation has photos of known whales, of whales that are held out whole, and of `new_whale`, each with its `role`. They
are drawn from the unique photos; copies follow them, so that no picture is in both parts.
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
    """Random draws by seed, fold and purpose: each is independent of the others."""

    seed: int
    fold: int

    def shuffled(self, items: Frame, purpose: str) -> Frame:
        """Return `items` in a random order that depends on their number."""
        order = np.random.default_rng([self.seed, self.fold, *purpose.encode()]).permutation(len(items))
        return items.iloc[order]

    def sample(self, items: pd.Series[str], share: float, purpose: str) -> pd.Series[str]:
        """Return a share of `items`, whose order does not matter."""
        return self.shuffled(items.sort_values(), purpose).iloc[: _count(share, len(items))]


def split(unique: pd.DataFrame, groups: pd.DataFrame, shares: Split, seed: int) -> pd.DataFrame:
    """Divide the labelled photos into `train` and `validation`.

    `unique` is `Image,Id`, one photo a duplicate group and none of a conflict; `groups` is `group,Image,part,Id`, every
    photo of every duplicate group. Their order does not matter. Raising a share adds to what it held out and changes no
    other draw; another `shares.fold` or `seed` is another draw.

    Returns `Image,Id,part,role`, sorted by `Image`; `part` and `role` are one of

    - `train`, `catalogue`: the training photos;
    - `validation`, `known`: one random photo each of a share of the whales with two unique photos or more, and of
      the photos that these whales have left beyond one, a further share; at least one photo of each is in `train`;
    - `validation`, `unknown`: all unique photos of a share of the whales with one photo, and of a share of the
      whales with several;
    - `validation`, `new_whale`: a share of the unique photos of no named whale;
    - `validation`, `duplicate`: copies of photos in `train`, and photos of conflicts, to measure how often the label of
      a duplicate is right.

    Copies of photos that are held out are left out, and as large a share of the conflicts. Counts are rounded half up;
    a share above 0 takes at least one `known` photo, and at least one wherever there are several whales or photos.

    With `known` 1, `several` 0 and the others 0.1, photos are held out as in the public re-split of Kaggle's contest.

    Raises:
        WhaleidError: no whale is left to train on, or no photo can be held out as `known`.
    """
    draws = Draws(seed, shares.fold)
    unique = unique[["Image", "Id"]].sort_values("Image", ignore_index=True)
    new_whale = unique.loc[unique["Id"] == NEW_WHALE, "Image"]
    named = unique[unique["Id"] != NEW_WHALE]
    single = ~named["Id"].duplicated(keep=False)

    singles = draws.sample(named.loc[single, "Id"], shares.unknown, "unknown single")
    several = draws.sample(named.loc[~single, "Id"].drop_duplicates(), shares.several, "unknown several")
    unknown = named["Id"].isin([*singles, *several])
    if unknown.all():
        raise WhaleidError(
            f"No whale is left to train on: {named['Id'].nunique()} have a usable photo and all of these are held out. "
            "Lower split.unknown or split.several, or add labelled photos."
        )
    roles = {
        "known": _known(named[~single], several, shares, draws),
        "unknown": named.loc[unknown, "Image"],
        "new_whale": draws.sample(new_whale, shares.new_whale, "new_whale"),
    }
    table = unique.assign(part="train", role="catalogue")
    for role, images in roles.items():
        table.loc[table["Image"].isin(images), ["part", "role"]] = ["validation", role]
    held_out = table.loc[table["part"] == "validation", "Image"]
    return pd.concat([table, _duplicates(unique, groups, held_out, draws)]).sort_values("Image", ignore_index=True)


def _known(photos: pd.DataFrame, unknown: pd.Series[str], shares: Split, draws: Draws) -> pd.Series[str]:
    """Draw the `known` photos from whales with several `photos` that are not `unknown`: one each, and further ones."""
    if shares.known == 0:
        return photos["Image"].iloc[:0]
    photos = draws.shuffled(photos, "known photo")
    place = photos.groupby("Id").cumcount()  # the first photo of a whale is held out, its second one stays
    # all are shuffled before some are left out, so that other shares do not change the order
    first = draws.shuffled(photos[place == 0].sort_values("Id"), "known whale")
    first = first[~first["Id"].isin(unknown)]
    if first.empty:
        raise WhaleidError(
            f"split.known is {shares.known:g}, but no whale has two unique photos, one of them to give up (whales "
            "that are held out whole do not count). Set split.known to 0, lower split.several, or add labelled photos."
        )
    first = first.iloc[: max(_round(shares.known * len(first)), 1)]
    further = draws.shuffled(photos[place > 1].sort_values("Image"), "further photo")
    further = further[further["Id"].isin(first["Id"])]
    known: pd.Series[str] = pd.concat([first, further.iloc[: _count(shares.further, len(further))]])["Image"]
    return known


def _duplicates(unique: pd.DataFrame, groups: pd.DataFrame, held_out: pd.Series[str], draws: Draws) -> pd.DataFrame:
    """Return the labelled photos that are not unique, without the copies of photos held out.

    A group whose labels agree has one photo in `train`, so a conflict leaves one out as well. Groups whose photo is
    held out are left out, and as large a share of the conflicts, so that both keep their proportion.
    """
    labelled = groups[groups["part"] == "train"].sort_values("Image")
    labelled = labelled[labelled["group"].duplicated(keep=False)]
    agreeing = labelled.loc[labelled["Image"].isin(unique["Image"]), "group"]
    without = labelled.loc[labelled["Image"].isin(held_out), "group"]
    copies = labelled[~labelled["Image"].isin(unique["Image"]) & ~labelled["group"].isin(without)]

    conflicting = draws.shuffled(copies[~copies["group"].isin(agreeing)], "conflict photo")
    conflicting = conflicting[conflicting["group"].duplicated()]
    conflicts = draws.shuffled(conflicting["group"].drop_duplicates().sort_values(), "conflict")
    share = 1 - len(without) / len(agreeing) if len(agreeing) else 1.0
    kept = conflicts.iloc[: _round(share * len(conflicts))]
    copies = pd.concat([copies[copies["group"].isin(agreeing)], conflicting[conflicting["group"].isin(kept)]])
    return copies[["Image", "Id"]].assign(part="validation", role="duplicate")


def _count(share: float, number: int) -> int:
    """Return `share` of `number`, rounded: at least one of several if it is above 0."""
    return max(_round(share * number), 1 if share > 0 and number > 1 else 0)


def _round(count: float) -> int:
    """Round half up. A product of floats can be a little less than it should be: 0.29 * 50 < 14.5."""
    return math.floor(round(count, 9) + 0.5)
