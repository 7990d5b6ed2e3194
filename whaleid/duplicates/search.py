"""Find all duplicates in a set of photos: duplicate groups, the manifest and leaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whaleid.duplicates.groups import compact_groups, rank_photos
from whaleid.duplicates.leaks import leak_pairs, leak_table
from whaleid.duplicates.manifest import build_manifest
from whaleid.duplicates.pairs import RowPairs, compare_pairs, describe, find_candidates, orientations, pixels_agree
from whaleid.images.fingerprint import Thumbnails

if TYPE_CHECKING:
    from whaleid.config import Dedup

SPREAD = 2.0
"""Limit of the error between a group member and its representative, as a multiple of `max_error`."""


@dataclass(frozen=True)
class Duplicates:
    """The duplicates in a set of N photos."""

    manifest: pd.DataFrame  # one row per photo, see `manifest.build_manifest`
    leaks: pd.DataFrame  # see `leaks.leak_table`
    copies: pd.DataFrame  # pairs of a photo and the representative of its group, see `pairs`
    confirmed: pd.DataFrame  # pairs whose hashes and pixels agree
    rejected: pd.DataFrame  # pairs whose hashes agree, but whose pixels do not
    plain: int  # number of photos with too little detail for a hash


def find_duplicates(photos: pd.DataFrame, thumbnails: Thumbnails, rule: Dedup) -> Duplicates:
    """Find the duplicates in a set of photos.

    Two photos are duplicates if their files are identical, or if their hashes differ in at most `rule.max_distance`
    bits and their pixels have an error of at most `rule.max_error` (see `pixels.pixel_errors`). M. Piotte, winner of
    Kaggle's whale-categorization-playground in 2018, combined hashes and pixels in this way.

    Args:
        photos: one row per photo, see `manifest`.
        thumbnails: (N, SIDE, SIDE).
        rule: the limits, and the orientations to compare.
    """
    descriptors = describe(photos, thumbnails, orientations(rule))
    near = find_candidates(descriptors, descriptors, rule.max_distance)
    same = pixels_agree(near, descriptors, descriptors, rule.max_error)
    rows = np.arange(len(photos))
    first = pd.Series(rows).groupby(descriptors.sha256).transform("first").to_numpy()  # first photo with the same file
    identical = np.column_stack([first, rows])[first != rows]

    def is_close(members: RowPairs) -> NDArray[np.bool_]:
        errors = compare_pairs(descriptors, descriptors, members)["error"].to_numpy()
        close: NDArray[np.bool_] = errors <= SPREAD * rule.max_error
        return close

    links = np.concatenate([near.loc[same, ["left", "right"]].to_numpy(), identical])
    group, representative = compact_groups(len(photos), links, rank_photos(photos), is_close)
    copy = np.flatnonzero(representative != rows)
    copies = compare_pairs(descriptors, descriptors, np.column_stack([copy, representative[copy]]))
    return Duplicates(
        build_manifest(photos, group, copies),
        leak_table(photos, compare_pairs(descriptors, descriptors, leak_pairs(photos, group)), copies),
        copies,
        near[same],
        near[~same],
        int(descriptors.plain.sum()),
    )
