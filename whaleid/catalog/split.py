"""Divide the labelled photos into training and validation, so that validation resembles the queries to come.

Validation has photos of known whales, of whales that are held out whole, and of `new_whale`, each with its `role`. They
are drawn from the unique photos; copies follow them, so that no picture is in both parts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE

if TYPE_CHECKING:
    from whaleid.config import Split

Frame = TypeVar("Frame", pd.DataFrame, "pd.Series[str]")
Draws = tuple[int, int]
"""The seed and the fold, on which every draw depends."""


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
    draws = (seed, shares.fold)
    unique = unique[["Image", "Id"]].sort_values("Image", ignore_index=True)
    new_whale = unique.loc[unique["Id"] == NEW_WHALE, "Image"]
    named = unique[unique["Id"] != NEW_WHALE]
    alone = ~named["Id"].duplicated(keep=False)

    whales = pd.concat(
        [
            _draw(named.loc[alone, "Id"], shares.unknown, draws, "unknown single"),
            _draw(named.loc[~alone, "Id"].drop_duplicates(), shares.several, draws, "unknown several"),
        ]
    )
    unknown = named["Id"].isin(whales)
    if unknown.all():
        raise WhaleidError(
            f"No whale is left to train on: {len(whales)} have a usable photo and all of these are held out. "
            "Lower split.unknown or split.several, or add labelled photos."
        )
    roles = {
        "known": _known(named[~alone], whales, shares, draws),
        "unknown": named.loc[unknown, "Image"],
        "new_whale": _draw(new_whale, shares.new_whale, draws, "new_whale"),
    }
    table = unique.assign(part="train", role="catalogue")
    for role, images in roles.items():
        table.loc[table["Image"].isin(images), ["part", "role"]] = ["validation", role]
    held_out = table.loc[table["part"] == "validation", "Image"]
    return pd.concat([table, _duplicates(unique, groups, held_out, draws)]).sort_values("Image", ignore_index=True)


def _known(several: pd.DataFrame, unknown: pd.Series[str], shares: Split, draws: Draws) -> pd.Series[str]:
    """Draw the `known` photos, of the whales in `several` that are not `unknown`: one of each, and further ones."""
    if shares.known == 0:
        return several["Image"].iloc[:0]
    photos = _shuffled(several, draws, "known photo")
    place = photos.groupby("Id").cumcount()  # the first photo of a whale is held out, its second one stays
    # all are shuffled before some are left out, so that other shares do not change the order
    left = _shuffled(photos[place == 0].sort_values("Id"), draws, "known whale")
    left = left[~left["Id"].isin(unknown)]
    if left.empty:
        raise WhaleidError(
            f"split.known is {shares.known:g}, but no whale has two unique photos, one of them to give up (whales "
            "that are held out whole do not count). Set split.known to 0, lower split.several, or add labelled photos."
        )
    first = left.iloc[: max(_round(shares.known * len(left)), 1)]
    beyond = _shuffled(photos[place > 1].sort_values("Image"), draws, "further photo")
    beyond = beyond[beyond["Id"].isin(first["Id"])]
    known: pd.Series[str] = pd.concat([first, beyond.iloc[: _count(shares.further, len(beyond))]])["Image"]
    return known


def _duplicates(unique: pd.DataFrame, groups: pd.DataFrame, held_out: pd.Series[str], draws: Draws) -> pd.DataFrame:
    """Return the labelled photos that are not unique, without the copies of photos held out.

    Agreeing groups and conflicts keep their proportion. An agreeing group has one photo in `train`, so a conflict
    leaves one out as well; agreeing groups whose photo is held out are left out, and as large a share of the conflicts.
    """
    labelled = groups[groups["part"] == "train"].sort_values("Image")
    labelled = labelled[labelled["group"].duplicated(keep=False)]
    agreeing = labelled.loc[labelled["Image"].isin(unique["Image"]), "group"]
    straddling = labelled.loc[labelled["Image"].isin(held_out), "group"]
    copies = labelled[~labelled["Image"].isin(unique["Image"]) & ~labelled["group"].isin(straddling)]

    conflicting = _shuffled(copies[~copies["group"].isin(agreeing)], draws, "conflict photo")
    conflicting = conflicting[conflicting["group"].duplicated()]
    conflicts = _shuffled(conflicting["group"].drop_duplicates().sort_values(), draws, "conflict")
    share = 1 - len(straddling) / len(agreeing) if len(agreeing) else 1.0
    kept = conflicts.iloc[: _round(share * len(conflicts))]
    copies = pd.concat([copies[copies["group"].isin(agreeing)], conflicting[conflicting["group"].isin(kept)]])
    return copies[["Image", "Id"]].assign(part="validation", role="duplicate")


def _draw(items: pd.Series[str], share: float, draws: Draws, purpose: str) -> pd.Series[str]:
    """Draw a share of `items`."""
    return _shuffled(items.sort_values(), draws, purpose).iloc[: _count(share, len(items))]


def _count(share: float, number: int) -> int:
    """Return `share` of `number`, rounded: at least one of several if it is above 0."""
    return max(_round(share * number), 1 if share > 0 and number > 1 else 0)


def _shuffled(items: Frame, draws: Draws, purpose: str) -> Frame:
    """Return `items` in an order that depends on their number, `draws` and `purpose`."""
    order = np.random.default_rng([*draws, *purpose.encode()]).permutation(len(items))
    return items.iloc[order]


def _round(count: float) -> int:
    """Round half up. A product of floats can be a little less than it should be: 0.29 * 50 < 14.5."""
    return math.floor(round(count, 9) + 0.5)
