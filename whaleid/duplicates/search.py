"""All duplicates among photos, and what they mean: groups, what is kept, leaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whaleid.duplicates.groups import rank, without_chains
from whaleid.duplicates.leaks import leak_rows, leaks
from whaleid.duplicates.manifest import manifest
from whaleid.duplicates.pairs import Rows, agree, candidates, compare, describe, orientations
from whaleid.images.fingerprint import Thumbnails

if TYPE_CHECKING:
    from whaleid.config import Dedup

SPREAD = 2.0
"""Times `max_error`: the largest error of a member to the representative of its group."""


@dataclass(frozen=True)
class Duplicates:
    """The duplicates among N photos."""

    manifest: pd.DataFrame  # as `manifest.manifest` returns it: a row a photo
    leaks: pd.DataFrame  # as `leaks.leaks` returns them
    copies: pd.DataFrame  # pairs of a photo and the representative of its group
    confirmed: pd.DataFrame  # pairs that agree by hash and pixels
    rejected: pd.DataFrame  # pairs that agree by hash and not by pixels
    plain: int  # photos with too little detail for their hash: only the same file is a duplicate


def find(photos: pd.DataFrame, thumbnails: Thumbnails, rule: Dedup) -> Duplicates:
    """Find the duplicates among `photos`, a table as in `manifest`, by their `thumbnails` (N, SIDE, SIDE).

    Photos are duplicates where their hashes are at most `rule.max_distance` bits apart and the share of each one's
    pixels that the other does not explain is at most `rule.max_error`; also where their files are the same. To ask for
    pixels besides hashes was M. Piotte's rule, who won Kaggle's whale-categorization-playground in 2018.
    """
    described = describe(photos, thumbnails, orientations(rule))
    near = candidates(described, described, rule.max_distance)
    same = agree(near, described, described, rule.max_error)
    rows = np.arange(len(photos))
    first = pd.Series(rows).groupby(described.sha256).transform("first").to_numpy()  # photo with the same file
    files = np.column_stack([first, rows])[first != rows]

    def close(members: Rows) -> NDArray[np.bool_]:
        kept: NDArray[np.bool_] = compare(described, described, members)["error"].to_numpy() <= SPREAD * rule.max_error
        return kept

    links = np.concatenate([near.loc[same, ["left", "right"]].to_numpy(), files])
    group, representative = without_chains(len(photos), links, rank(photos), close)
    copy = np.flatnonzero(representative != rows)
    copies = compare(described, described, np.column_stack([copy, representative[copy]]))
    return Duplicates(
        manifest(photos, group, copies),
        leaks(photos, compare(described, described, leak_rows(photos, group)), copies),
        copies,
        near[same],
        near[~same],
        int(described.blank.sum()),
    )
