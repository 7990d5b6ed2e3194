"""Which of many photos are the same picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whaleid.duplicates import grouping, manifest, matching
from whaleid.duplicates.hashing import Orientation, Thumbnails, perceptual_hashes
from whaleid.duplicates.matching import Compared, Pairs

if TYPE_CHECKING:
    from whaleid.config import Dedup

SPREAD = 2.0
"""Times `max_error`: how far a member may be from the representative of its group."""
SQUEEZED = 1.1
"""Times width / height may differ; pixels must agree twice as well beyond, for a crop of some pixels changes less."""


@dataclass(frozen=True)
class Found:
    """The groups of N photos."""

    group: NDArray[np.intp]  # (N,), -1 where a photo has no duplicate
    copies: Compared  # each photo that is not its group's representative, with that
    same: Compared  # pairs of duplicates, by hash and pixels
    other: Compared  # pairs near by hash that are none
    plain: NDArray[np.bool_]  # (N,): too little to be seen; only its very file is a duplicate


def orientations(rule: Dedup) -> list[Orientation]:
    """Return in which orientations photos are compared."""
    allowed = [Orientation.UPRIGHT]
    allowed += [Orientation.TURNED] if rule.turned else []
    allowed += [Orientation.MIRRORED] if rule.mirrored else []
    return allowed + ([Orientation.FLIPPED] if rule.turned and rule.mirrored else [])


def find(photos: pd.DataFrame, thumbnails: Thumbnails, rule: Dedup) -> Found:
    """Find the groups of `photos`, a table as in `manifest`, by their `thumbnails` (N, SIDE, SIDE).

    Photos are duplicates where their hashes are at most `rule.max_distance` bits apart and what their pixels do not
    explain of each other is at most `rule.max_error` (half of that, where the proportions differ by more than
    `SQUEEZED`); also where their files are the same. To ask for pixels besides hashes was M. Piotte's rule, who won
    Kaggle's whale-categorization-playground in 2018.
    """
    near, plain = matching.candidates(thumbnails, rule.max_distance, orientations(rule))
    duplicates = _agree(near, photos, photos, rule)
    sha256 = photos["sha256"].to_numpy(dtype=np.str_)

    def held(pairs: Pairs) -> NDArray[np.bool_]:
        return compare(sha256, thumbnails, pairs, rule).error <= SPREAD * rule.max_error

    pairs = np.concatenate([near.pairs[duplicates], _same_files(sha256)])
    group, representative = grouping.held_together(len(photos), pairs, manifest.rank(photos), held)
    copy = np.flatnonzero(representative != np.arange(len(photos)))
    copies = compare(sha256, thumbnails, np.column_stack([copy, representative[copy]]), rule)
    return Found(group, copies, near[duplicates], near[~duplicates], plain)


def compare(sha256: NDArray[np.str_], thumbnails: Thumbnails, pairs: Pairs, rule: Dedup) -> Compared:
    """Compare the photos of `pairs` (P, 2); those whose files are the same, by `sha256` (N,), have no error."""
    count = len(pairs)
    found = Compared(pairs, np.zeros(count, np.uint8), np.zeros(count, np.uint8), np.zeros(count))
    differ = sha256[pairs[:, 0]] != sha256[pairs[:, 1]]
    compared = matching.compare(thumbnails, pairs[differ], orientations(rule))
    found.orientation[differ], found.distance[differ] = compared.orientation, compared.distance
    found.error[differ] = compared.error
    return found


@dataclass(frozen=True)
class Known:
    """Photos among which duplicates of others are looked for; a table as in `manifest`, and what is seen on them."""

    photos: pd.DataFrame
    thumbnails: Thumbnails
    rows: NDArray[np.intp]  # of the photos that show enough
    hashes: NDArray[np.uint64]  # of these


def known(photos: pd.DataFrame, thumbnails: Thumbnails) -> Known:
    """Return `photos` with `thumbnails` (N, SIDE, SIDE) as `among` takes them."""
    rows = np.flatnonzero(~matching.plain(thumbnails))
    return Known(photos, thumbnails, rows, perceptual_hashes(thumbnails[rows]))


def among(photos: pd.DataFrame, thumbnails: Thumbnails, others: Known, rule: Dedup) -> Compared:
    """Find which of `others` are duplicates of `photos`, as `find` does, pair by pair: closest first within a photo.

    In `pairs` are the row of the photo and that of the other one.
    """
    rows = np.flatnonzero(~matching.plain(thumbnails))
    found = [
        matching.pairs_between(perceptual_hashes(orientation.of(thumbnails[rows])), others.hashes, rule.max_distance)
        for orientation in orientations(rule)
    ]
    near = np.unique(np.concatenate(found), axis=0)
    same = (
        photos[["sha256"]]
        .reset_index(names="one")
        .merge(others.photos[["sha256"]].reset_index(names="other"), on="sha256")
    )
    files = same[["one", "other"]].to_numpy(dtype=np.intp)
    pairs = np.unique(np.concatenate([np.column_stack([rows[near[:, 0]], others.rows[near[:, 1]]]), files]), axis=0)
    # only what is compared lies side by side
    both = np.concatenate([thumbnails, others.thumbnails[pairs[:, 1]]])
    sha256 = np.concatenate([photos["sha256"], others.photos["sha256"].to_numpy()[pairs[:, 1]]]).astype(np.str_)
    beside = np.column_stack([pairs[:, 0], len(photos) + np.arange(len(pairs))])
    compared = replace(compare(sha256, both, beside, rule), pairs=pairs)
    agree = (compared.distance <= rule.max_distance) & _agree(compared, photos, others.photos, rule)
    closest = np.lexsort((pairs[:, 1], compared.error, compared.distance, pairs[:, 0]))
    return compared[closest[agree[closest]]]


def _agree(near: Compared, ones: pd.DataFrame, others: pd.DataFrame, rule: Dedup) -> NDArray[np.bool_]:
    """Return (P,) which pairs of one of `ones` and one of `others` agree in their pixels."""
    left, right = (
        (photos["width"] / photos["height"]).to_numpy()[rows]
        for photos, rows in zip((ones, others), near.pairs.T, strict=True)
    )
    squeezed = np.abs(np.log(left / right)) > np.log(SQUEEZED)
    return near.error <= np.where(squeezed, rule.max_error / 2, rule.max_error)


def _same_files(sha256: NDArray[np.str_]) -> Pairs:
    """Return pairs of a photo and the first one with the same file, (P, 2)."""
    _, first, inverse = np.unique(sha256, return_index=True, return_inverse=True)
    pairs = np.column_stack([first[inverse], np.arange(len(sha256))])
    others: Pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return others
