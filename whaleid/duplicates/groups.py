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
    """Rank photos by how well they can represent a duplicate group.

    Labelled photos rank before queries, then photos with more pixels before smaller ones, colour before grey, and names
    in alphabetical order.

    Args:
        photos: one row per photo, with the columns Image, part, width, height and mode; index 0 to N - 1.

    Returns:
        The rank of each photo, (N,); 0 is the best.
    """
    keys = photos.assign(
        query=photos["part"] == "test", pixels=-photos["width"] * photos["height"], grey=photos["mode"].isin(GREY_MODES)
    )
    return np.argsort(keys.sort_values(["query", "pixels", "grey", "Image"]).index)


def components(count: int, pairs: RowPairs) -> NDArray[np.intp]:
    """Compute the connected components of the graph whose edges are `pairs` (P, 2) of photos.

    Returns the component of each photo, (count,), or `NO_GROUP` for a photo without a pair. Components are numbered
    from 0, in the order of their first members.
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

    Args:
        count: the number of photos, N.
        pairs: (P, 2), the rows of duplicate photos.
        rank: (N,), as `rank_photos` returns it; the representative is the member with the lowest rank.
        is_close: maps rows (M, 2) of a photo and its representative, sorted by photo, to bool (M,).

    Returns:
        The group and the representative of each photo, both (N,).
    """
    while True:
        group = components(count, pairs)
        representative = representatives(group, rank)
        members = np.flatnonzero(representative != np.arange(count))
        close = is_close(np.column_stack([members, representative[members]]))
        if close.all():
            return group, representative
        far = np.zeros(count, dtype=bool)
        far[members[~close]] = True
        near = members[close]
        # link close members to their representative directly: their path to it may lead through far members
        pairs = np.concatenate([np.column_stack([near, representative[near]]), pairs[far[pairs].all(axis=1)]])
