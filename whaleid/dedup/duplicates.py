"""Which of many photos are the same picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whaleid.dedup import grouping, manifest, matching
from whaleid.dedup.hashing import Orientation, Thumbnails
from whaleid.dedup.matching import Compared, Pairs

if TYPE_CHECKING:
    from whaleid.params import Dedup

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
    proportions = (photos["width"] / photos["height"]).to_numpy()
    squeezed = np.abs(np.log(proportions[near.pairs[:, 0]] / proportions[near.pairs[:, 1]])) > np.log(SQUEEZED)
    duplicates = near.error <= np.where(squeezed, rule.max_error / 2, rule.max_error)
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


def _same_files(sha256: NDArray[np.str_]) -> Pairs:
    """Return pairs of a photo and the first one with the same file, (P, 2)."""
    _, first, inverse = np.unique(sha256, return_index=True, return_inverse=True)
    pairs = np.column_stack([first[inverse], np.arange(len(sha256))])
    others: Pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return others
