"""Pairs of photos that are the same picture: hashes that lie near each other, confirmed by pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import comb

import faiss
import numpy as np
from numpy.typing import NDArray

from whaleid.duplicates.hashing import Orientation, Thumbnails, perceptual_hashes
from whaleid.duplicates.pixels import detail, errors

Pairs = NDArray[np.intp]
BITS = 64
LEAST_DETAIL = 2.0
"""Grey levels of `pixels.detail`. The plainest of 9,850 real fluke photos has 5.4; sky, haze and night have about 1,
and their hashes tell of noise."""
ROWS = 4096
"""Hashes that are looked up, and pairs whose pixels are compared, at a time: bounds the memory, changes no result."""


@dataclass(frozen=True)
class Compared:
    """How near the photos of P pairs are, each in the orientation in which their pixels agree best."""

    pairs: Pairs  # (P, 2)
    orientation: NDArray[np.uint8]  # (P,), of `Orientation`
    distance: NDArray[np.uint8]  # (P,), bits of 64
    error: NDArray[np.float64]  # (P,), of `pixels.errors`, 0 to 1

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Compared":
        """Return some of the pairs."""
        return Compared(*(getattr(self, field.name)[which] for field in fields(self)))


def candidates(
    thumbnails: Thumbnails, max_distance: int, orientations: Sequence[Orientation]
) -> tuple[Compared, NDArray[np.bool_]]:
    """Compare all photos whose hashes are at most `max_distance` bits apart in one of `orientations`.

    `thumbnails` are (N, SIDE, SIDE). Photos with less than `LEAST_DETAIL` are in no pair: open sea looks like open sea.
    Also returned is (N,) which these are.
    """
    empty = plain(thumbnails)
    rows = np.flatnonzero(~empty)
    hashes = perceptual_hashes(thumbnails[rows])
    found = []
    for orientation in orientations:
        oriented = perceptual_hashes(orientation.of(thumbnails[rows]))
        pairs = pairs_between(hashes, oriented, max_distance)
        # an orientation undoes itself: but for rounding, each pair is found from both sides
        pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
        found.append(compare(thumbnails, rows[pairs], [orientation]))
    every = Compared(*(np.concatenate([getattr(each, field.name) for each in found]) for field in fields(Compared)))
    every = every[np.lexsort((every.error, every.pairs[:, 1], every.pairs[:, 0]))]
    _, best = np.unique(every.pairs, axis=0, return_index=True)
    every = every[best]
    return every[every.distance <= max_distance], empty


def plain(thumbnails: Thumbnails) -> NDArray[np.bool_]:
    """Return (N,) which of `thumbnails` (N, SIDE, SIDE) show too little to be told from others."""
    return detail(thumbnails) < LEAST_DETAIL


def compare(thumbnails: Thumbnails, pairs: Pairs, orientations: Sequence[Orientation]) -> Compared:
    """Compare the `thumbnails` (N, SIDE, SIDE) of `pairs` (P, 2) in each of `orientations`, and keep the best."""
    error = np.empty((len(orientations), len(pairs)))
    distance = np.empty((len(orientations), len(pairs)), dtype=np.uint8)
    for start in range(0, len(pairs), ROWS):
        block = slice(start, start + ROWS)
        left, right = (thumbnails[pairs[block, side]] for side in (0, 1))
        hashes = perceptual_hashes(left)
        for number, orientation in enumerate(orientations):
            other = orientation.of(right)
            error[number, block] = errors(left, other)
            distance[number, block] = np.bitwise_count(hashes ^ perceptual_hashes(other))
    best = error.argmin(axis=0)
    pair = np.arange(len(pairs))
    oriented = np.array(orientations, dtype=np.uint8)[best]
    return Compared(pairs, oriented, distance[best, pair], error[best, pair])


def pairs_within(hashes: NDArray[np.uint64], max_distance: int) -> Pairs:
    """Return all pairs (i, j), i < j, of `hashes` (N,) at most `max_distance` bits apart, as (P, 2), in order."""
    pairs = pairs_between(hashes, hashes, max_distance)
    return pairs[pairs[:, 0] < pairs[:, 1]]


def pairs_between(queries: NDArray[np.uint64], hashes: NDArray[np.uint64], max_distance: int) -> Pairs:
    """Return all (i, j) where `queries` (Q,) and `hashes` (N,) are at most `max_distance` bits apart, (P, 2).

    They are in order, and none is missed: hashes that differ in few bits agree in all but a few bits of at least one of
    several bands, in whose tables they are looked up (Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space
    with multi-index hashing").
    """
    values, value = np.unique(hashes, return_inverse=True)
    asked, ask = np.unique(queries, return_inverse=True)
    if not len(values) or not len(asked):
        return np.empty((0, 2), dtype=np.intp)
    bands, flips = _bands(len(values), max_distance)
    index = faiss.IndexBinaryMultiHash(BITS, bands, BITS // bands)
    index.nflip = flips
    index.add(_bytes(values))
    # faiss takes what is nearer than its radius
    limits, _, near = index.range_search(_bytes(asked), max_distance + 1)
    # each pair of different hashes stands for all photos that have them
    left, right = np.repeat(np.arange(len(asked)), np.diff(limits).astype(np.intp)), near.astype(np.intp)
    i, pair = _members(ask, len(asked), left)
    j, of = _members(value, len(values), right[pair])
    found = np.column_stack([i[of], j])
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _members(
    group: NDArray[np.intp], count: int, wanted: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the members of each of the groups `wanted` (W,), one after another, and which of these each belongs to.

    `group` (N,) is the group of each member, from 0 to `count` - 1.
    """
    order = np.argsort(group, kind="stable")
    size = np.bincount(group, minlength=count)
    first = np.cumsum(size) - size
    of = np.repeat(np.arange(len(wanted)), size[wanted])
    place = np.arange(len(of)) - np.repeat(np.cumsum(size[wanted]) - size[wanted], size[wanted])
    return order[first[wanted][of] + place], of


def _bytes(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return hashes.view(np.uint8).reshape(-1, 8)


def _bands(count: int, max_distance: int) -> tuple[int, int]:
    """Return into how many bands to cut hashes, and how many bits of a band to flip, for the least work.

    Of `bands`, one has at most `max_distance // bands` of the bits in which two hashes differ. Work is the number of
    table entries that are opened for a hash, and of hashes that lie in them, if they are spread evenly.
    """

    def work(bands: int) -> float:
        bits = BITS // bands
        opened = bands * sum(comb(bits, flipped) for flipped in range(max_distance // bands + 1))
        return float(opened * (1 + count / 2**bits))

    # wider bands than 32 bits would open more entries than any number of hashes is worth
    bands = min(range(2, max_distance + 2), key=work, default=2)
    return bands, max_distance // bands
