"""Pairs of photos that may be the same picture: their hashes lie near each other, and their pixels are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import comb
from typing import TYPE_CHECKING

import faiss
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whaleid.duplicates.hashing import Orientation, from_hex, perceptual_hashes
from whaleid.duplicates.pixels import detail, errors
from whaleid.images.fingerprint import Thumbnails

if TYPE_CHECKING:
    from whaleid.config import Dedup

Pairs = NDArray[np.intp]
BITS = 64
LEAST_DETAIL = 2.0
"""Grey levels of `pixels.detail`. The plainest of 9,850 real fluke photos has 5.4; sky, haze and night have about 1,
and their hashes are noise."""
SQUEEZED = 1.1
"""The ratio of two photos' aspects above which pixels must agree twice as well: a crop by some pixels changes less."""
BLOCK = 4096
"""Pairs whose pixels are compared at a time: bounds the memory, changes no result."""


@dataclass(frozen=True)
class Descriptors:
    """What N photos are compared by."""

    sha256: NDArray[np.str_]  # (N,), of the files
    aspect: NDArray[np.float64]  # (N,), width / height
    thumbnails: Thumbnails  # (N, SIDE, SIDE)
    blank: NDArray[np.bool_]  # (N,): with less than LEAST_DETAIL, so that only the same file is a duplicate
    hashes: Mapping[Orientation, NDArray[np.uint64]]  # (N,), of the thumbnails in each orientation


@dataclass(frozen=True)
class Matches:
    """P pairs of photos, each in the orientation of the second one in which their pixels agree best."""

    pairs: Pairs  # (P, 2)
    orientation: NDArray[np.uint8]  # (P,), of `Orientation`
    distance: NDArray[np.uint8]  # (P,), bits of 64
    error: NDArray[np.float64]  # (P,), of `pixels.errors`, 0 to 1

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Matches:
        """Return some of the pairs."""
        return Matches(*(getattr(self, field.name)[which] for field in fields(self)))


def _concatenate(parts: Sequence[Matches]) -> Matches:
    return Matches(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Matches)))


def orientations(rule: Dedup) -> list[Orientation]:
    """Return the orientations in which photos are compared."""
    allowed = [Orientation.UPRIGHT]
    allowed += [Orientation.TURNED] if rule.turned else []
    allowed += [Orientation.MIRRORED] if rule.mirrored else []
    return allowed + ([Orientation.FLIPPED] if rule.turned and rule.mirrored else [])


def describe(photos: pd.DataFrame, thumbnails: Thumbnails, allowed: Sequence[Orientation]) -> Descriptors:
    """Return what photos are compared by.

    Args:
        photos: a row a photo, with the columns sha256, width, height and maybe phash, hashes computed before.
        thumbnails: (N, SIDE, SIDE), of the same photos.
        allowed: the orientations to compute hashes in; only the second photo of a pair needs more than UPRIGHT.
    """
    upright = from_hex(photos["phash"]) if "phash" in photos else perceptual_hashes(thumbnails)
    others = [orientation for orientation in allowed if orientation != Orientation.UPRIGHT]
    return Descriptors(
        photos["sha256"].to_numpy(dtype=np.str_),
        (photos["width"] / photos["height"]).to_numpy(),
        thumbnails,
        detail(thumbnails) < LEAST_DETAIL,
        {Orientation.UPRIGHT: upright} | {each: perceptual_hashes(each.apply(thumbnails)) for each in others},
    )


def candidates(left: Descriptors, right: Descriptors, max_distance: int) -> Matches:
    """Compare photos whose hashes are at most `max_distance` bits apart in an orientation of `right`; none is blank.

    Pairs are a row of `left` and one of `right`, sorted. Where both are the same photos, each pair comes once, with the
    lower row first.
    """
    ones, others = np.flatnonzero(~left.blank), np.flatnonzero(~right.blank)
    every = []
    for orientation, hashes in right.hashes.items():
        near = pairs_between(left.hashes[Orientation.UPRIGHT][ones], hashes[others], max_distance)
        pairs = np.column_stack([ones[near[:, 0]], others[near[:, 1]]])
        if left is right:
            # an orientation is its own inverse: but for rounding, each pair comes from both sides
            pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
        every.append(compare(left, right, pairs, [orientation]))
    matches = _concatenate(every)
    matches = matches[np.lexsort((matches.error, matches.pairs[:, 1], matches.pairs[:, 0]))]
    _, best = np.unique(matches.pairs, axis=0, return_index=True)
    matches = matches[best]
    return matches[matches.distance <= max_distance]


def compare(
    left: Descriptors, right: Descriptors, pairs: Pairs, allowed: Sequence[Orientation] | None = None
) -> Matches:
    """Compare `pairs` (P, 2), a row of `left` and one of `right`, in `allowed` or all orientations of `right`.

    Photos whose files are the same have distance and error 0.
    """
    allowed = [*right.hashes] if allowed is None else allowed
    ones, others = pairs.T
    error = np.empty((len(allowed), len(pairs)))
    distance = np.empty((len(allowed), len(pairs)), dtype=np.uint8)
    for number, orientation in enumerate(allowed):
        upright, hashes = left.hashes[Orientation.UPRIGHT], right.hashes[orientation]
        distance[number] = np.bitwise_count(upright[ones] ^ hashes[others])
        for start in range(0, len(pairs), BLOCK):
            block = slice(start, start + BLOCK)
            second = orientation.apply(right.thumbnails[others[block]])
            error[number, block] = errors(left.thumbnails[ones[block]], second)
    best, pair = error.argmin(axis=0), np.arange(len(pairs))
    differ = left.sha256[ones] != right.sha256[others]
    way = np.where(differ, np.array(allowed, dtype=np.uint8)[best], np.uint8(Orientation.UPRIGHT))
    return Matches(
        pairs, way, np.where(differ, distance[best, pair], np.uint8(0)), np.where(differ, error[best, pair], 0.0)
    )


def agree(matches: Matches, left: Descriptors, right: Descriptors, max_error: float) -> NDArray[np.bool_]:
    """Return (P,) which of `matches`, between `left` and `right`, are the same picture by their pixels."""
    ones, others = matches.pairs.T
    squeezed = np.abs(np.log(left.aspect[ones] / right.aspect[others])) > np.log(SQUEEZED)
    return matches.error <= np.where(squeezed, max_error / 2, max_error)


def matches_between(queries: Descriptors, gallery: Descriptors, rule: Dedup) -> Matches:
    """Return which photos of `gallery` are duplicates of which of `queries`, the closest first within a query.

    Photos are duplicates as for `groups.find`, pair by pair. `queries` have hashes in all `orientations` of the rule.
    """
    near = candidates(gallery, queries, rule.max_distance)
    files = pd.DataFrame({"sha256": gallery.sha256, "photo": range(len(gallery.sha256))}).merge(
        pd.DataFrame({"sha256": queries.sha256, "query": range(len(queries.sha256))}), on="sha256"
    )
    same = compare(gallery, queries, files[["photo", "query"]].to_numpy(dtype=np.intp))
    near = near[agree(near, gallery, queries, rule.max_error)]
    near = near[gallery.sha256[near.pairs[:, 0]] != queries.sha256[near.pairs[:, 1]]]
    both = _concatenate([same, near])
    photo, query = both.pairs.T
    return both[np.lexsort((photo, both.error, both.distance, query))]


def pairs_between(queries: NDArray[np.uint64], hashes: NDArray[np.uint64], max_distance: int) -> Pairs:
    """Return all (i, j) where `queries` (Q,) and `hashes` (N,) are at most `max_distance` bits apart, (P, 2), sorted.

    None is missed: hashes that differ in few bits agree in all but a few bits of at least one of several bands, and are
    looked up by bands (Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space with multi-index hashing").
    """
    if not len(hashes) or not len(queries):
        return np.empty((0, 2), dtype=np.intp)
    bands, flips = _bands(len(hashes), max_distance)
    index = faiss.IndexBinaryMultiHash(BITS, bands, BITS // bands)
    index.nflip = flips
    index.add(hashes.view(np.uint8).reshape(-1, 8))
    # faiss finds what is nearer than its radius
    limits, _, near = index.range_search(queries.view(np.uint8).reshape(-1, 8), max_distance + 1)
    pairs = np.column_stack([np.repeat(np.arange(len(queries)), np.diff(limits).astype(np.intp)), near])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _bands(count: int, max_distance: int) -> tuple[int, int]:
    """Return into how many bands to cut hashes, and how many bits of a band to flip, for the least work.

    One of `bands` bands has at most `max_distance // bands` of the bits in which two hashes differ. Work is the number
    of table entries that are opened for a hash, and of hashes that lie in them if they are spread evenly.
    """

    def work(bands: int) -> float:
        bits = BITS // bands
        opened = bands * sum(comb(bits, flipped) for flipped in range(max_distance // bands + 1))
        return float(opened * (1 + count / 2**bits))

    # bands of more than 32 bits would open more entries than any number of hashes is worth
    bands = min(range(2, max_distance + 2), key=work, default=2)
    return bands, max_distance // bands
