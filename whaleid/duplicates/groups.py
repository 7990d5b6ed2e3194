"""Groups of photos that are all the same picture: closed, and held together by one photo each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from whaleid.duplicates.matching import Matches, Pairs, agree, candidates, compare, describe, orientations
from whaleid.images.fingerprint import Thumbnails

if TYPE_CHECKING:
    from whaleid.config import Dedup

ALONE = -1
SPREAD = 2.0
"""Times `max_error`: the largest error of a member to the representative of its group."""
GREY = ("1", "L", "LA", "I", "I;16", "F")
"""Modes without colour."""


@dataclass(frozen=True)
class Groups:
    """The duplicates among N photos."""

    group: NDArray[np.intp]  # (N,), `ALONE` where a photo has no duplicate
    copies: Matches  # each photo that is not the representative of its group, with that representative
    duplicates: Matches  # pairs that agree by hash and pixels
    rejected: Matches  # pairs that agree by hash and not by pixels
    leaks: Matches  # each query with each labelled photo of its group
    blank: NDArray[np.bool_]  # (N,): too little detail; only the same file is a duplicate


def find(photos: pd.DataFrame, thumbnails: Thumbnails, rule: Dedup) -> Groups:
    """Find the groups of `photos`, a table as in `manifest`, by their `thumbnails` (N, SIDE, SIDE).

    Photos are duplicates where their hashes are at most `rule.max_distance` bits apart and the share of each one's
    pixels that the other does not explain is at most `rule.max_error`; also where their files are the same. To ask for
    pixels besides hashes was M. Piotte's rule, who won Kaggle's whale-categorization-playground in 2018.
    """
    each = describe(photos, thumbnails, orientations(rule))
    near = candidates(each, each, rule.max_distance)
    duplicate = agree(near, each, each, rule.max_error)
    pairs = np.concatenate([near.pairs[duplicate], _same_files(each.sha256)])

    def close(pairs: Pairs) -> NDArray[np.bool_]:
        return compare(each, each, pairs).error <= SPREAD * rule.max_error

    group, representative = without_chains(len(photos), pairs, rank(photos), close)
    copy = np.flatnonzero(representative != np.arange(len(photos)))
    copies = compare(each, each, np.column_stack([copy, representative[copy]]))
    leaks = compare(each, each, leak_pairs(photos, group))
    return Groups(group, copies, near[duplicate], near[~duplicate], leaks, each.blank)


def _same_files(sha256: NDArray[np.str_]) -> Pairs:
    """Return pairs of a photo and the first one with the same file, (P, 2)."""
    _, first, inverse = np.unique(sha256, return_index=True, return_inverse=True)
    pairs = np.column_stack([first[inverse], np.arange(len(sha256))])
    others: Pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return others


def rank(photos: pd.DataFrame) -> NDArray[np.intp]:
    """Return the rank (N,) of each photo as the representative of a group, 0 being the best.

    Labelled photos come first, then those with most pixels, with colour, and with the first name.
    """
    keys = photos.assign(
        query=photos["part"] == "test", fewer=-photos["width"] * photos["height"], grey=photos["mode"].isin(GREY)
    )
    order = keys.sort_values(["query", "fewer", "grey", "Image"]).index
    return np.argsort(order)


def components(count: int, pairs: Pairs) -> NDArray[np.intp]:
    """Return the connected component (count,) of each photo: `ALONE` where it is in none of `pairs` (P, 2).

    Components are numbered from 0 by their first member.
    """
    links = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    component = connected_components(links, directed=False)[1]
    group = np.full(count, ALONE, dtype=np.intp)
    members = np.unique(pairs)
    group[members] = pd.factorize(component[members])[0]
    return group


def representatives(group: NDArray[np.intp], rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the representative of each photo (N,): the member of its `group` (N,) with the lowest `rank` (N,).

    A photo without a group represents itself.
    """
    table = pd.DataFrame({"group": group, "row": np.arange(len(group))}).iloc[np.argsort(rank, kind="stable")]
    best = table.groupby("group")["row"].transform("first").sort_index().to_numpy(dtype=np.intp)
    return np.where(group == ALONE, np.arange(len(group)), best)


def without_chains(
    count: int, pairs: Pairs, rank: NDArray[np.intp], close: Callable[[Pairs], NDArray[np.bool_]]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the group and the representative of each of `count` photos, both (count,).

    A chain of photos, each a little unlike the one before, would join pictures that have nothing in common. So all
    members of a group are `close` to their representative, the one with the lowest `rank` (count,); `close` maps pairs
    (P, 2) of a photo and its representative to (P,). Members that are not form groups among themselves.
    """
    while True:
        group = components(count, pairs)
        representative = representatives(group, rank)
        members = np.flatnonzero(representative != np.arange(count))
        kept = close(np.column_stack([members, representative[members]]))
        if kept.all():
            return group, representative
        far = np.zeros(count, dtype=bool)
        far[members[~kept]] = True
        near = members[kept]
        # a close member keeps its representative, also where only a far one leads there
        pairs = np.concatenate([np.column_stack([near, representative[near]]), pairs[far[pairs].all(axis=1)]])


def leak_pairs(photos: pd.DataFrame, group: NDArray[np.intp]) -> Pairs:
    """Return the rows in `photos` of each query and each labelled photo of its group, (L, 2).

    Labelled photos of conflicts are included: their labels are all that is known of the query.
    """
    rows = photos[["part"]].assign(row=np.arange(len(photos)), group=group)[group != ALONE]
    queries, labelled = rows[rows["part"] == "test"], rows[rows["part"] == "train"]
    both = queries.merge(labelled, on="group", suffixes=("_query", "_photo"))
    pairs: Pairs = both[["row_query", "row_photo"]].to_numpy(dtype=np.intp)
    return pairs
