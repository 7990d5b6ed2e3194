"""Duplicate groups: connected components of duplicate pairs, split so that all members resemble one representative."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from whaleid.duplicates.pairs import RowPairs

NO_GROUP = -1
"""Group number of a photo without duplicates."""
GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")
"""Pillow's image modes without colour."""


def rank_photos(photos: pd.DataFrame) -> NDArray[np.intp]:
    """Return the rank (N,) of each photo as the representative of a duplicate group; 0 is the best.

    Photos (see `manifest`) are sorted by these criteria: labelled before queries, the number of pixels, colour before
    grey, the name.
    """
    keys = photos.assign(
        query=photos["part"] == "test", pixels=-photos["width"] * photos["height"], grey=photos["mode"].isin(GREY_MODES)
    )
    return np.argsort(keys.sort_values(["query", "pixels", "grey", "Image"]).index)


def components(count: int, pairs: RowPairs) -> NDArray[np.intp]:
    """Return the connected component (count,) of each photo, where `pairs` (P, 2) are the edges of the graph.

    Components are numbered from 0 by their first member. Photos without a pair get `NO_GROUP`.
    """
    links = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    component = connected_components(links, directed=False)[1]
    group = np.full(count, NO_GROUP, dtype=np.intp)
    members = np.unique(pairs)
    group[members] = pd.factorize(component[members])[0]
    return group


def representatives(group: NDArray[np.intp], rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the row of each photo's representative, (N,): the member of its `group` (N,) with the lowest `rank` (N,).

    A photo without a group represents itself.
    """
    rows = np.arange(len(group))
    best_rank = pd.Series(rank).groupby(group).transform("min").to_numpy()
    return np.where(group == NO_GROUP, rows, np.argsort(rank)[best_rank])


def compact_groups(
    count: int, pairs: RowPairs, rank: NDArray[np.intp], is_close: Callable[[RowPairs], NDArray[np.bool_]]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Group photos so that all members of a group are close to its representative.

    Connected components alone are not enough: a chain of photos that differ a little from one to the next would join
    different pictures. Members that are not close to the representative form new groups among themselves.

    `pairs` (P, 2) are duplicates. The representative is the member with the lowest `rank` (count,). `is_close` maps the
    rows (M, 2) of a photo and its representative, sorted by photo, to bool (M,). Returns the group and the
    representative of each photo, both (count,).
    """
    while True:
        group = components(count, pairs)
        representative = representatives(group, rank)
        members = np.flatnonzero(representative != np.arange(count))
        close = is_close(np.column_stack([members, representative[members]]))
        if close.all():
            return group, representative
        is_distant = np.zeros(count, dtype=bool)
        is_distant[members[~close]] = True
        near = members[close]
        # link close members to their representative directly: their path to it may lead through distant members
        pairs = np.concatenate([np.column_stack([near, representative[near]]), pairs[is_distant[pairs].all(axis=1)]])
