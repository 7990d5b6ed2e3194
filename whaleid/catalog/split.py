"""What is trained on and what is held out, drawn so that validation asks what the queries to come will ask.

Validation has photos of known whales, of whales that the catalogue has never seen, and of no named whale, each
marked by its `role`. They are drawn from the unique photos and copies follow them, so that no picture is both
trained on and taken for a new one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from whaleid.errors import WhaleidError
from whaleid.labels import NEW_WHALE

if TYPE_CHECKING:
    from whaleid.params import Split

Frame = TypeVar("Frame", pd.DataFrame, "pd.Series[str]")


def split(unique: pd.DataFrame, groups: pd.DataFrame, shares: Split, seed: int) -> pd.DataFrame:
    """Divide the labelled photos into `train` and `validation`.

    `unique` is `Image,Id`, one photo a duplicate group and none of a conflict; `groups` is
    `group,Image,part,Id`, every photo of every duplicate group. Their order does not matter. A share that is raised
    adds to what it held out, and a share that is changed draws no other one anew.

    Returns `Image,Id,part,role`, sorted by `Image`; `part` and `role` are one of

    - `train`, `catalogue`: to be trained on;
    - `validation`, `known`: one random photo each of a share of the whales with two unique photos or more, whose
      other photos are in `train`;
    - `validation`, `unknown`: all unique photos of a share of the whales; those with one photo and those with
      several are drawn apart, so that both are there in proportion;
    - `validation`, `new_whale`: a share of the unique photos of no named whale;
    - `validation`, `duplicate`: copies of photos in `train`, and all photos of conflicts, to measure how far the
      label of a duplicate can be trusted.

    Copies of photos that are held out are left out. Counts are rounded half up, but a share above 0 takes at least
    one `known` photo, and at least one wherever there are several whales or photos to draw from.

    Raises:
        WhaleidError: no whale is left to train on, or none that could give up a photo.
    """
    unique = unique[["Image", "Id"]].sort_values("Image", ignore_index=True)
    new_whale = unique.loc[unique["Id"] == NEW_WHALE, "Image"]
    named = unique[unique["Id"] != NEW_WHALE]
    alone = ~named["Id"].duplicated(keep=False)

    whales = pd.concat(
        [
            _draw(named.loc[alone, "Id"], shares.unknown, seed, "unknown single"),
            _draw(named.loc[~alone, "Id"].drop_duplicates(), shares.unknown, seed, "unknown several"),
        ]
    )
    unknown = named["Id"].isin(whales)
    if unknown.all():
        raise WhaleidError(
            f"No whale is left to train on: {len(whales)} have a usable photo and all of these are held out. "
            "Lower split.unknown, or add labelled photos."
        )
    roles = {
        "known": _known(named[~alone], whales, shares.known, seed),
        "unknown": named.loc[unknown, "Image"],
        "new_whale": _draw(new_whale, shares.new_whale, seed, "new_whale"),
    }
    table = unique.assign(part="train", role="catalogue")
    for role, images in roles.items():
        table.loc[table["Image"].isin(images), ["part", "role"]] = ["validation", role]
    held_out = table.loc[table["part"] == "validation", "Image"]
    return pd.concat([table, _duplicates(unique, groups, held_out)]).sort_values("Image", ignore_index=True)


def _known(several: pd.DataFrame, unknown: pd.Series[str], share: float, seed: int) -> pd.Series[str]:
    """Draw one photo each of a share of the whales in `several` that are not `unknown`."""
    if share == 0:
        return several["Image"].iloc[:0]
    one_each = _shuffled(several, seed, "known photo").drop_duplicates("Id")
    left = _shuffled(one_each.sort_values("Id"), seed, "known whale")
    left = left[~left["Id"].isin(unknown)]  # only now, so that other unknown whales do not reshuffle the rest
    if left.empty:
        raise WhaleidError(
            f"split.known is {share:g}, but no whale has two unique photos, one of them to give up (whales that are "
            "held out whole do not count). Set split.known to 0, lower split.unknown, or add labelled photos."
        )
    return left["Image"].iloc[: max(_round(share * len(left)), 1)]


def _duplicates(unique: pd.DataFrame, groups: pd.DataFrame, held_out: pd.Series[str]) -> pd.DataFrame:
    """Return the labelled photos that are not unique, without the copies of photos held out."""
    straddling = groups.loc[groups["Image"].isin(held_out), "group"]
    copies = groups[
        (groups["part"] == "train") & ~groups["Image"].isin(unique["Image"]) & ~groups["group"].isin(straddling)
    ]
    return copies[["Image", "Id"]].assign(part="validation", role="duplicate")


def _draw(items: pd.Series[str], share: float, seed: int, purpose: str) -> pd.Series[str]:
    """Draw a share of `items`, at least one of several if it is above 0."""
    least = 1 if share > 0 and len(items) > 1 else 0
    return _shuffled(items.sort_values(), seed, purpose).iloc[: max(_round(share * len(items)), least)]


def _shuffled(items: Frame, seed: int, purpose: str) -> Frame:
    """Return `items` in an order that depends on their number, `seed` and `purpose`."""
    order = np.random.default_rng([seed, *purpose.encode()]).permutation(len(items))
    return items.iloc[order]


def _round(count: float) -> int:
    """Round half up. What a share of a number should be exactly can be a little less: 0.29 * 50 < 14.5."""
    return math.floor(round(count, 9) + 0.5)
