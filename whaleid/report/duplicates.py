"""The HTML page of duplicates: pairs close to `dedup.max_error`, and pairs whose labels differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.duplicates.hashing import Orientation
from whaleid.duplicates.manifest import CONFLICT
from whaleid.duplicates.search import Duplicates
from whaleid.images.previews import read_previews
from whaleid.report import pages, sheets
from whaleid.report.sheets import Cell, Sheet, Strip

if TYPE_CHECKING:
    from whaleid.config import Dedup

PAIRS = 40
"""Maximum number of pairs on each contact sheet."""
COUNTS = {
    "groups": "duplicate groups",
    "conflicts": "photos in conflict",
    "unique": "unique photos",
    "leaks": "queries that are leaks",
    "plain": "too plain to compare",
}
"""Names on the page of the counts of `dedup`; other counts keep their key as name."""


def render(
    title: str,
    counts: Mapping[str, int],
    duplicates: Duplicates,
    files: Mapping[str, Path],
    rule: Dedup,
) -> str:
    """Render the page of duplicates as HTML.

    `counts` are numbers of photos, pairs or groups by key. `files` maps the display name of each photo to its path, in
    the order of the rows of `duplicates`. `rule` has the parameters of the detection.

    Raises:
        InputProblems: photos on the page are missing or damaged.
    """
    names = [*files]
    confirmed, copies = duplicates.confirmed, duplicates.copies
    conflict = (duplicates.manifest["reason"] == CONFLICT).to_numpy()
    kinds = [
        (
            "The farthest duplicates",
            "Pairs that count as the same picture, those that agree least first. If some are not, lower max_error.",
            confirmed.sort_values("error", ascending=False, kind="stable"),
        ),
        (
            "The closest other pairs",
            "Pairs whose hashes are near, but whose pixels do not agree. If some are duplicates, raise max_error.",
            duplicates.rejected.sort_values("error", kind="stable"),
        ),
        (
            "Turned or mirrored",
            "Duplicates in another orientation.",
            confirmed[confirmed["orientation"] != Orientation.UPRIGHT],
        ),
        (
            "Labels that differ",
            "The same picture under several labels. None of these photos is learnt from; a query that duplicates them "
            "is offered all their labels.",
            copies[conflict[copies["left"]] & conflict[copies["right"]]],
        ),
    ]
    page_sheets = [Sheet(name, caption, _strips(pairs[:PAIRS], names)) for name, caption, pairs in kinds if len(pairs)]
    lead = [
        f"Duplicates are pairs of photos whose perceptual hashes differ in at most {rule.max_distance} of 64 bits and "
        f"whose pixels differ by an error of at most {rule.max_error:g}: the share of one photo's variance that the "
        f"other does not explain. {len(confirmed):,} pairs are duplicates; "
        f"{len(duplicates.rejected):,} more have near hashes only."
    ]
    numbers = {COUNTS.get(name, name): f"{count:,}" for name, count in counts.items()}
    photos = read_previews({name: files[name] for name in sheets.photos(page_sheets)})
    return pages.render_sheets(title, lead, page_sheets, photos, numbers)


def _strips(pairs: pd.DataFrame, names: Sequence[str]) -> list[Strip]:
    strips = []
    for left, right, orientation, distance, error in pairs.itertuples(index=False):
        caption = f"error {error:.3f}, {distance} bits"
        if orientation != Orientation.UPRIGHT:
            caption += f", {Orientation(orientation).name.lower()}"
        strips.append(Strip([Cell(names[row], names[row]) for row in (left, right)], caption))
    return strips
