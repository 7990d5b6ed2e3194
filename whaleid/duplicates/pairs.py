"""Pairs of photos that may be the same picture: their hashes are near each other, and their pixels are compared.

Pairs are a table: `left` and `right`, the rows of two photos; `orientation`, how the right one is turned or mirrored
for their pixels to agree best; `distance`, the bits of 64 in which their hashes differ; `error`, from 0 to 1, as in
`pixels.errors`.
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
from whaleid.duplicates.pixels import BLOCK, detail, errors
from whaleid.images.fingerprint import Thumbnails

if TYPE_CHECKING:
    from whaleid.config import Dedup

Rows = NDArray[np.intp]
"""(P, 2): the rows of two photos."""
BITS = 64
MIN_DETAIL = 2.0
"""Grey levels of `pixels.detail`. The plainest of 9,850 real fluke photos has 5.4; sky, haze and night have about 1,
and their hashes are noise."""
SQUEEZED = 1.1
"""The ratio of two photos' aspects above which pixels must agree twice as well: a crop by some pixels changes less."""


@dataclass(frozen=True)
class Descriptors:
    """What N photos are compared by."""

    sha256: NDArray[np.str_]  # (N,), of the files
    aspect: NDArray[np.float64]  # (N,), width / height
    thumbnails: Thumbnails  # (N, SIDE, SIDE)
    blank: NDArray[np.bool_]  # (N,): with less than MIN_DETAIL, so that only the same file is a duplicate
    hashes: Mapping[Orientation, NDArray[np.uint64]]  # (N,), of the thumbnails in each orientation


def describe(photos: pd.DataFrame, thumbnails: Thumbnails, orientations: Sequence[Orientation]) -> Descriptors:
    """Return what photos are compared by.

    Args:
        photos: a row a photo, with the columns sha256, width, height and maybe phash, hashes computed before.
        thumbnails: (N, SIDE, SIDE), of the same photos.
        orientations: in which to compute hashes, UPRIGHT first; only the right photo of a pair needs others.
    """
    upright = from_hex(photos["phash"]) if "phash" in photos else perceptual_hashes(thumbnails)
    others = {each: perceptual_hashes(each.apply(thumbnails)) for each in orientations[1:]}
    return Descriptors(
        photos["sha256"].to_numpy(dtype=np.str_),
        (photos["width"] / photos["height"]).to_numpy(),
        thumbnails,
        detail(thumbnails) < MIN_DETAIL,
        {Orientation.UPRIGHT: upright} | others,
    )


def orientations(rule: Dedup) -> list[Orientation]:
    """Return the orientations in which photos are compared, UPRIGHT first."""
    allowed = {
        Orientation.UPRIGHT: True,
        Orientation.TURNED: rule.turned,
        Orientation.MIRRORED: rule.mirrored,
        Orientation.FLIPPED: rule.turned and rule.mirrored,
    }
    return [orientation for orientation, compared in allowed.items() if compared]


def candidates(left: Descriptors, right: Descriptors, max_distance: int) -> pd.DataFrame:
    """Compare photos whose hashes are at most `max_distance` bits apart in an orientation of `right`; none is blank.

    Returns pairs sorted by left and right. Where both are the same photos, each pair comes once, the lower row first.
    """
    rows_left, rows_right = np.flatnonzero(~left.blank), np.flatnonzero(~right.blank)
    tables = []
    for orientation, hashes in right.hashes.items():
        near = near_hashes(left.hashes[Orientation.UPRIGHT][rows_left], hashes[rows_right], max_distance)
        rows = np.column_stack([rows_left[near[:, 0]], rows_right[near[:, 1]]])
        if left is right:
            # an orientation is its own inverse: but for rounding, each pair comes from both sides
            rows = np.unique(np.sort(rows[rows[:, 0] != rows[:, 1]], axis=1), axis=0)
        tables.append(_compare(left, right, rows, orientation))
    pairs = _best(tables)
    return pairs[pairs["distance"] <= max_distance]


def compare(left: Descriptors, right: Descriptors, rows: Rows) -> pd.DataFrame:
    """Compare the pairs `rows`, each of `left` and `right`, in all orientations of `right`.

    Returns pairs sorted by left and right. Photos whose files are the same have distance and error 0.
    """
    return _best([_compare(left, right, rows, orientation) for orientation in right.hashes])


def _compare(left: Descriptors, right: Descriptors, rows: Rows, orientation: Orientation) -> pd.DataFrame:
    ones, others = rows.T
    error = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        one, other = ones[start : start + BLOCK], others[start : start + BLOCK]
        error[start : start + BLOCK] = errors(left.thumbnails[one], orientation.apply(right.thumbnails[other]))
    distance = np.bitwise_count(left.hashes[Orientation.UPRIGHT][ones] ^ right.hashes[orientation][others])
    differ = left.sha256[ones] != right.sha256[others]
    # the same file is upright and without error, whatever its pixels
    return pd.DataFrame(
        {
            "left": ones,
            "right": others,
            "orientation": differ * int(orientation),
            "distance": differ * distance.astype(np.int64),
            "error": np.where(differ, error, 0.0),
        }
    )


def _best(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return each pair once, in the orientation in which its pixels agree best."""
    pairs = pd.concat(tables).sort_values(["left", "right", "error"])
    return pairs.drop_duplicates(["left", "right"], ignore_index=True)


def agree(pairs: pd.DataFrame, left: Descriptors, right: Descriptors, max_error: float) -> NDArray[np.bool_]:
    """Return (P,) which of `pairs`, of `left` and `right`, are the same picture by their pixels."""
    squeezed = np.abs(np.log(left.aspect[pairs["left"]] / right.aspect[pairs["right"]])) > np.log(SQUEEZED)
    same: NDArray[np.bool_] = pairs["error"].to_numpy() <= np.where(squeezed, max_error / 2, max_error)
    return same


def duplicates_between(gallery: Descriptors, queries: Descriptors, rule: Dedup) -> pd.DataFrame:
    """Return the pairs of a photo of `gallery` and one of `queries` that are duplicates, by query, the closest first.

    Photos are duplicates as in `search.find`, pair by pair. `queries` have hashes in all `orientations` of the rule.
    """
    near = candidates(gallery, queries, rule.max_distance)
    near = near[agree(near, gallery, queries, rule.max_error)]
    files = pd.DataFrame({"sha256": gallery.sha256}).reset_index(names="left")
    files = files.merge(pd.DataFrame({"sha256": queries.sha256}).reset_index(names="right"), on="sha256")
    same = compare(gallery, queries, files[["left", "right"]].to_numpy(dtype=np.intp))
    pairs = pd.concat([same, near]).drop_duplicates(["left", "right"])
    return pairs.sort_values(["right", "distance", "error", "left"], ignore_index=True)


def near_hashes(left: NDArray[np.uint64], right: NDArray[np.uint64], max_distance: int) -> Rows:
    """Return all (i, j) where `left[i]` and `right[j]` are at most `max_distance` bits apart, (P, 2), sorted.

    None is missed: of several bands of bits, at least one has no more than its share of the bits that differ. So hashes
    are looked up by each band, with up to that many bits flipped (Norouzi, Punjani and Fleet 2012, "Fast search in
    Hamming space with multi-index hashing").
    """
    if not len(left) or not len(right):
        return np.empty((0, 2), dtype=np.intp)
    # a band has about as many bits as the number of hashes, so that few hashes share one
    bands = min(max_distance + 1, max(3, int(BITS / log2(len(right) + 1))))
    index = faiss.IndexBinaryMultiHash(BITS, bands, BITS // bands)
    index.nflip = max_distance // bands
    index.add(right.view(np.uint8).reshape(-1, 8))
    # faiss finds what is nearer than its radius
    limits, _, near = index.range_search(left.view(np.uint8).reshape(-1, 8), max_distance + 1)
    pairs = np.column_stack([np.repeat(np.arange(len(left)), np.diff(limits).astype(np.intp)), near])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
