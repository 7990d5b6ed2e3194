"""Pairs and groups of photos that are the same picture, over arrays alone."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROWS = 256
"""How many hashes are compared with all others at a time: bounds the memory, changes no result."""


def pairs_within(hashes: NDArray[np.uint64], max_distance: int) -> NDArray[np.intp]:
    """Return all pairs (i, j), i < j, of `hashes` (N,) at most `max_distance` bits apart, as (P, 2)."""
    found = [np.empty((0, 2), dtype=np.intp)]
    for start in range(0, len(hashes), ROWS):
        block = hashes[start : start + ROWS]
        apart = np.bitwise_count(block[:, None] ^ hashes[None, start:])  # (rows, N - start)
        i, j = np.nonzero(apart <= max_distance)
        later = i < j
        found.append(np.column_stack([i[later], j[later]]) + start)
    return np.concatenate(found)


def distances(hashes: NDArray[np.uint64], pairs: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return how many of 64 bits differ in each of `pairs` (P, 2), shape (P,)."""
    found: NDArray[np.uint8] = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])
    return found


def errors(thumbnails: NDArray[np.float32], pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean squared error of the `thumbnails` (N, H, W) in each of `pairs` (P, 2), shape (P,)."""
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), ROWS):
        left, right = pairs[start : start + ROWS].T
        difference = thumbnails[left].astype(np.float64) - thumbnails[right]
        found[start : start + ROWS] = (difference**2).mean(axis=(1, 2))
    return found


def groups(count: int, pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the group of each of `count` photos, shape (count,): -1 where it is in none of `pairs` (P, 2).

    A photo belongs to the group of all that its duplicates duplicate. Groups are numbered from 0 by their
    first member.
    """
    links = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    component = connected_components(links, directed=False)[1]
    group = np.full(count, -1, dtype=np.intp)
    members = np.unique(pairs)
    _, first, inverse = np.unique(component[members], return_index=True, return_inverse=True)
    group[members] = np.argsort(np.argsort(first))[inverse]
    return group
