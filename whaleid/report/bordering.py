"""The page on duplicates: both sides of the border between them and all others, and what was decided and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid.duplicates.duplicates import Found
from whaleid.duplicates.hashing import Orientation
from whaleid.duplicates.matching import Compared
from whaleid.images.thumbnails import thumbs
from whaleid.report.album import Sheet, Strip, render

if TYPE_CHECKING:
    from whaleid.config import Dedup

SHOWN = 40
"""Pairs of each kind."""


def page(
    title: str,
    counts: Mapping[str, int],
    found: Found,
    manifest: pd.DataFrame,
    names: Sequence[str],
    file: Callable[[int], Path],
    rule: Dedup,
) -> str:
    """Return the page.

    Args:
        title: its heading.
        counts: what was counted, by name.
        found: the groups of N photos.
        manifest: what becomes of each of them, in the same order.
        names: what each is called on the page.
        file: takes the place of a photo among them, from 0, and returns where it lies.
        rule: by which they were found.

    Raises:
        InputProblems: photos that are shown are missing or damaged.
    """
    torn = (manifest["reason"] == "labels of its group differ").to_numpy()
    sheets = {
        "The farthest duplicates": (
            "They count as the same picture, and agree least. Where some are not, lower max_error.",
            _sorted(found.same, -1),
        ),
        "The closest that are none": (
            "Their hashes are near, but their pixels do not agree. Where some are the same, raise max_error.",
            _sorted(found.other, 1),
        ),
        "Turned or mirrored": ("Duplicates that lie another way.", found.same[found.same.orientation > 0][:SHOWN]),
        "Labels that differ": (
            "The same picture under several labels: none of these photos is learnt from, and all their labels are "
            "offered for a query that duplicates them.",
            found.copies[np.flatnonzero(torn[found.copies.pairs].all(axis=1))[:SHOWN]],
        ),
    }
    shown = {name: _strips(compared, names) for name, (_, compared) in sheets.items()}
    rows = np.unique(np.concatenate([compared.pairs.ravel() for _, compared in sheets.values()]))
    small = thumbs({names[row]: file(row) for row in rows.tolist()})
    lead = [
        f"Duplicates: perceptual hashes at most {rule.max_distance} of 64 bits apart, and an error of at most "
        f"{rule.max_error:g} between pixels: the share of one photo's details that the other does not explain. "
        f"{len(found.same.pairs):,} pairs are; {len(found.other.pairs):,} more have such hashes and are none."
    ]
    return render(
        title,
        lead,
        {name: f"{count:,}" for name, count in counts.items()},
        [Sheet(name, sheets[name][0], strips) for name, strips in shown.items() if strips],
        small,
    )


def _sorted(compared: Compared, sign: int) -> Compared:
    return compared[np.argsort(sign * compared.error, kind="stable")[:SHOWN]]


def _strips(compared: Compared, names: Sequence[str]) -> list[Strip]:
    return [
        Strip({names[row]: names[row] for row in pair}, f"error {error:.3f}, {distance} bits{_way(orientation)}")
        for pair, error, distance, orientation in zip(
            compared.pairs.tolist(), compared.error, compared.distance, compared.orientation, strict=True
        )
    ]


def _way(orientation: int) -> str:
    return "" if orientation == Orientation.UPRIGHT else f", {Orientation(orientation).name.lower()}"
