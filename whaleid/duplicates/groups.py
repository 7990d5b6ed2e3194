"""Groups of photos that are all the same picture: closed, and held together by one photo each."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from whaleid.duplicates.pairs import Rows

ALONE = -1
GREY = ("1", "L", "LA", "I", "I;16", "F")
"""Modes without colour."""


def rank(photos: pd.DataFrame) -> NDArray[np.intp]:
    """Return the rank (N,) of each photo as the representative of a group, 0 being the best.

    Labelled photos come first, then those with most pixels, with colour, and with the first name.
    """
    keys = photos.assign(
        query=photos["part"] == "test", fewer=-photos["width"] * photos["height"], grey=photos["mode"].isin(GREY)
    )
    return np.argsort(keys.sort_values(["query", "fewer", "grey", "Image"]).index)


def components(count: int, pairs: Rows) -> NDArray[np.intp]:
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
    rows = np.arange(len(group))
    best = pd.Series(rank).groupby(group).transform("min").to_numpy()
    return np.where(group == ALONE, rows, np.argsort(rank)[best])


def without_chains(
    count: int, pairs: Rows, rank: NDArray[np.intp], close: Callable[[Rows], NDArray[np.bool_]]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the group and the representative of each of `count` photos, both (count,).

    A chain of photos, each a little unlike the one before, would join pictures that have nothing in common. So all
    members of a group are `close` to their representative, the one with the lowest `rank` (count,); `close` maps pairs
    (P, 2) of a photo and its representative, sorted, to (P,). Members that are not form groups of their own.
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
