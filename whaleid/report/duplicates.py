"""The page on duplicates: pairs on both sides of the limit, and the groups whose labels differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid.duplicates.groups import Groups
from whaleid.duplicates.hashing import Orientation
from whaleid.duplicates.matching import Matches
from whaleid.images.previews import read_previews
from whaleid.report import pages, sheets
from whaleid.report.sheets import Cell, Sheet, Strip

if TYPE_CHECKING:
    from whaleid.config import Dedup

PAIRS = 40
"""Of each kind, at most."""
COUNTS = {
    "groups": "duplicate groups",
    "conflicts": "photos in conflict",
    "unique": "unique photos",
    "leaks": "queries that are leaks",
    "plain": "too plain to compare",
}
"""Names of the figures of `dedup` on the page, if it has others for them."""


def page(
    title: str,
    counts: Mapping[str, int],
    groups: Groups,
    manifest: pd.DataFrame,
    names: Sequence[str],
    files: Sequence[Path],
    rule: Dedup,
) -> str:
    """Return the page.

    Args:
        title: heading of the page.
        counts: numbers by name.
        groups: the duplicates among N photos.
        manifest: one row for each photo, in the same order.
        names: of the photos, as the page shows them.
        files: of the photos.
        rule: the rule that duplicates were found by.

    Raises:
        InputProblems: photos on the page are missing or damaged.
    """
    conflict = (manifest["reason"] == "labels of its group differ").to_numpy()
    kinds = [
        (
            "The farthest duplicates",
            "Pairs that count as the same picture, those that agree least first. If some are not, lower max_error.",
            groups.duplicates[np.argsort(-groups.duplicates.error, kind="stable")],
        ),
        (
            "The closest other pairs",
            "Pairs whose hashes are near, but whose pixels do not agree. If some are duplicates, raise max_error.",
            groups.rejected[np.argsort(groups.rejected.error, kind="stable")],
        ),
        (
            "Turned or mirrored",
            "Duplicates in another orientation.",
            groups.duplicates[groups.duplicates.orientation > 0],
        ),
        (
            "Labels that differ",
            "The same picture under several labels. None of these photos is learnt from; a query that duplicates them "
            "is offered all their labels.",
            groups.copies[np.flatnonzero(conflict[groups.copies.pairs].all(axis=1))],
        ),
    ]
    page_sheets = [
        Sheet(name, caption, _strips(pairs[:PAIRS], names)) for name, caption, pairs in kinds if len(pairs.pairs)
    ]
    file_by_name = dict(zip(names, files, strict=True))
    lead = [
        f"Duplicates are pairs of photos whose perceptual hashes differ in at most {rule.max_distance} of 64 bits and "
        f"whose pixels differ by an error of at most {rule.max_error:g}: the share of one photo's variance that the "
        f"other does not explain. {len(groups.duplicates.pairs):,} pairs are duplicates; "
        f"{len(groups.rejected.pairs):,} more have near hashes only."
    ]
    numbers = {COUNTS.get(name, name): f"{count:,}" for name, count in counts.items()}
    photos = read_previews({name: file_by_name[name] for name in sheets.photos(page_sheets)})
    return pages.render_sheets(title, lead, page_sheets, photos, numbers)


def _strips(pairs: Matches, names: Sequence[str]) -> list[Strip]:
    strips = []
    for pair, error, distance, orientation in zip(
        pairs.pairs.tolist(), pairs.error, pairs.distance, pairs.orientation, strict=True
    ):
        caption = f"error {error:.3f}, {distance} bits"
        if orientation != Orientation.UPRIGHT:
            caption += f", {Orientation(orientation).name.lower()}"
        strips.append(Strip([Cell(names[row], names[row]) for row in pair], caption))
    return strips
