"""Find pairs of photos that show the same picture: first by the distance of their hashes, then by their pixels.

A table of pairs has one row per pair, with the columns `left` and `right`, the rows of both photos; `orientation` of
the right photo, in which the pixels agree best; `distance`, the number of hash bits (of 64) that differ; and `error`,
from 0 (the same picture) to 1, see `pixels.pixel_errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

import faiss
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whaleid.duplicates.hashing import Orientation, from_hex, perceptual_hashes
from whaleid.duplicates.pixels import BLOCK, detail, pixel_errors
from whaleid.images.fingerprint import Thumbnails

if TYPE_CHECKING:
    from whaleid.config import Dedup

RowPairs = NDArray[np.intp]
"""Rows of both photos of each pair, (P, 2)."""
BITS = 64
"""Bits of a perceptual hash."""
MIN_DETAIL = 2.0
"""The detail (`pixels.detail`), in grey levels, below which a photo is plain: its hash is noise. The minimum of 9,850
real fluke photos is 5.4; photos of sky, haze or night have about 1."""
MAX_ASPECT_RATIO = 1.1
"""The ratio of two photos' aspect ratios above which the limit of the error is halved. Cropping a few pixels stays
below it."""


@dataclass(frozen=True)
class Descriptors:
    """The features by which N photos are compared."""

    sha256: NDArray[np.str_]  # (N,), digests of the files
    aspect: NDArray[np.float64]  # (N,), width / height
    thumbnails: Thumbnails  # (N, SIDE, SIDE)
    plain: NDArray[np.bool_]  # (N,), detail below MIN_DETAIL: only an identical file is a duplicate
    hashes: Mapping[Orientation, NDArray[np.uint64]]  # (N,) each: hashes of the thumbnails, by orientation


def describe(photos: pd.DataFrame, thumbnails: Thumbnails, orientations: Sequence[Orientation]) -> Descriptors:
    """Compute the descriptors of photos.

    Args:
        photos: one row per photo, with the columns sha256, width and height; a column phash, if there is one, replaces
            the computation of the upright hashes.
        thumbnails: (N, SIDE, SIDE), of the same photos.
        orientations: the orientations of the hashes, UPRIGHT first. The left photos of pairs only need UPRIGHT.
    """
    upright = from_hex(photos["phash"]) if "phash" in photos else perceptual_hashes(thumbnails)
    rotated = {orientation: perceptual_hashes(orientation.apply(thumbnails)) for orientation in orientations[1:]}
    return Descriptors(
        photos["sha256"].to_numpy(dtype=np.str_),
        (photos["width"] / photos["height"]).to_numpy(),
        thumbnails,
        detail(thumbnails) < MIN_DETAIL,
        {Orientation.UPRIGHT: upright} | rotated,
    )


def orientations(rule: Dedup) -> list[Orientation]:
    """Return the orientations that `rule` allows, UPRIGHT first."""
    enabled = {
        Orientation.UPRIGHT: True,
        Orientation.TURNED: rule.turned,
        Orientation.MIRRORED: rule.mirrored,
        Orientation.FLIPPED: rule.turned and rule.mirrored,
    }
    return [orientation for orientation, allowed in enabled.items() if allowed]


def find_candidates(left: Descriptors, right: Descriptors, max_distance: int) -> pd.DataFrame:
    """Find pairs of photos whose hashes differ in at most `max_distance` bits, in any orientation of `right`.

    Plain photos are skipped. Returns a table of pairs, sorted by left and right. If `left` and `right` are the same
    object, each pair occurs once, with the lower row first.
    """
    rows_left, rows_right = np.flatnonzero(~left.plain), np.flatnonzero(~right.plain)
    tables = []
    for orientation, hashes in right.hashes.items():
        near = near_hashes(left.hashes[Orientation.UPRIGHT][rows_left], hashes[rows_right], max_distance)
        rows = np.column_stack([rows_left[near[:, 0]], rows_right[near[:, 1]]])
        if left is right:
            # each pair is found from both sides, because an orientation is its own inverse (up to rounding)
            rows = np.unique(np.sort(rows[rows[:, 0] != rows[:, 1]], axis=1), axis=0)
        tables.append(_compare_in(left, right, rows, orientation))
    pairs = _best_orientation(tables)
    return pairs[pairs["distance"] <= max_distance]


def compare_pairs(left: Descriptors, right: Descriptors, rows: RowPairs) -> pd.DataFrame:
    """Compare pairs of photos, given by their `rows` in `left` and `right`, in all orientations of `right`.

    Returns a table of pairs, sorted by left and right. Identical files have a distance and an error of 0.
    """
    return _best_orientation([_compare_in(left, right, rows, orientation) for orientation in right.hashes])


def _compare_in(left: Descriptors, right: Descriptors, rows: RowPairs, orientation: Orientation) -> pd.DataFrame:
    left_rows, right_rows = rows.T
    error = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        oriented = orientation.apply(right.thumbnails[right_rows[block]])
        error[block] = pixel_errors(left.thumbnails[left_rows[block]], oriented)
    distance = np.bitwise_count(left.hashes[Orientation.UPRIGHT][left_rows] ^ right.hashes[orientation][right_rows])
    differ = left.sha256[left_rows] != right.sha256[right_rows]
    # identical files are upright and have no error, even if they are plain
    return pd.DataFrame(
        {
            "left": left_rows,
            "right": right_rows,
            "orientation": differ * int(orientation),
            "distance": differ * distance.astype(np.int64),
            "error": np.where(differ, error, 0.0),
        }
    )


def _best_orientation(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return each pair once, in the orientation with the lowest error."""
    pairs = pd.concat(tables).sort_values(["left", "right", "error"])
    return pairs.drop_duplicates(["left", "right"], ignore_index=True)


def pixels_agree(pairs: pd.DataFrame, left: Descriptors, right: Descriptors, max_error: float) -> NDArray[np.bool_]:
    """Return a mask (P,) of `pairs` whose pixels agree: the error is at most `max_error`, or half if shapes differ."""
    stretched = np.abs(np.log(left.aspect[pairs["left"]] / right.aspect[pairs["right"]])) > np.log(MAX_ASPECT_RATIO)
    mask: NDArray[np.bool_] = pairs["error"].to_numpy() <= np.where(stretched, max_error / 2, max_error)
    return mask


def duplicates_between(gallery: Descriptors, queries: Descriptors, rule: Dedup) -> pd.DataFrame:
    """Find the duplicates of queries in the gallery.

    The criterion is the same as in `search.find_duplicates`. `queries` must have hashes in all orientations that `rule`
    allows. Returns a table of pairs, sorted by query (right) and then by distance.
    """
    near = find_candidates(gallery, queries, rule.max_distance)
    near = near[pixels_agree(near, gallery, queries, rule.max_error)]
    files = pd.DataFrame({"sha256": gallery.sha256}).reset_index(names="left")
    files = files.merge(pd.DataFrame({"sha256": queries.sha256}).reset_index(names="right"), on="sha256")
    identical = compare_pairs(gallery, queries, files[["left", "right"]].to_numpy(dtype=np.intp))
    pairs = pd.concat([identical, near]).drop_duplicates(["left", "right"])
    return pairs.sort_values(["right", "distance", "error", "left"], ignore_index=True)


def near_hashes(left: NDArray[np.uint64], right: NDArray[np.uint64], max_distance: int) -> RowPairs:
    """Find all pairs (i, j) for which `left[i]` and `right[j]` differ in at most `max_distance` bits.

    Returns the sorted pairs, (P, 2). The search is exact. It uses multi-index hashing (Norouzi, Punjani and Fleet 2012,
    "Fast search in Hamming space with multi-index hashing"): hashes are split into bands of bits, and looked up by each
    band with a few bits flipped. By the pigeonhole principle, this finds all near hashes.
    """
    if not len(left) or not len(right):
        return np.empty((0, 2), dtype=np.intp)
    # about log2(number of hashes) bits per band: few hashes share the value of a band
    bands = min(max_distance + 1, max(3, int(BITS / log2(len(right) + 1))))
    index = faiss.IndexBinaryMultiHash(BITS, bands, BITS // bands)
    index.nflip = max_distance // bands
    index.add(right.view(np.uint8).reshape(-1, 8))
    # the radius of faiss is exclusive
    limits, _, near = index.range_search(left.view(np.uint8).reshape(-1, 8), max_distance + 1)
    pairs = np.column_stack([np.repeat(np.arange(len(left)), np.diff(limits).astype(np.intp)), near])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
