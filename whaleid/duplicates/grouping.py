"""Groups of photos that are all the same picture: closed, and held together by one photo each."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Pairs = NDArray[np.intp]
ALONE = -1


def groups(count: int, pairs: Pairs) -> NDArray[np.intp]:
    """Return the group of each of `count` photos, shape (count,): `ALONE` where it is in none of `pairs` (P, 2).

    A photo belongs to the group of all that its duplicates duplicate. Groups are numbered from 0 by their first
    member.
    """
    links = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    component = connected_components(links, directed=False)[1]
    group = np.full(count, ALONE, dtype=np.intp)
    members = np.unique(pairs)
    _, first, inverse = np.unique(component[members], return_index=True, return_inverse=True)
    group[members] = np.argsort(np.argsort(first))[inverse]
    return group


def representatives(group: NDArray[np.intp], rank: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the representative of each photo (N,): the member of its `group` (N,) with the lowest `rank` (N,).

    A photo that is alone stands for itself.
    """
    found = np.arange(len(group))
    order = np.argsort(rank, kind="stable")
    order = order[group[order] != ALONE]
    _, first = np.unique(group[order], return_index=True)
    members = group != ALONE
    found[members] = order[first][group[members]]
    return found


def held_together(
    count: int, pairs: Pairs, rank: NDArray[np.intp], near: Callable[[Pairs], NDArray[np.bool_]]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the groups of `count` photos and their representatives, both (count,), without chains.

    A chain of photos, each a little unlike the one before, would join pictures that have nothing in common. So all
    members of a group are `near` their representative, the one with the lowest `rank` (count,); `near` takes pairs
    (P, 2) of a photo and its representative, and tells (P,) which are. Those that are not form groups among themselves.
    """
    while True:
        group = groups(count, pairs)
        representative = representatives(group, rank)
        members = np.flatnonzero(representative != np.arange(count))
        held = near(np.column_stack([members, representative[members]]))
        if held.all():
            return group, representative
        kept, far = members[held], np.zeros(count, dtype=bool)
        far[members[~held]] = True
        # who is near keeps to the representative, also where only a far one led there
        among = pairs[far[pairs].all(axis=1)]
        pairs = np.concatenate([np.column_stack([kept, representative[kept]]), among])
