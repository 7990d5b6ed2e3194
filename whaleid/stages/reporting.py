"""What `predict` shows a person: six pictures with their tables, and one page that joins them with contact sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from whaleid import files

Nearest = Callable[[Sequence[tuple[str, str]]], list[str]]
"""Takes pairs of a query's Image and a whale; returns, for each, the whale's labelled photo most like the query.

An empty string stands for none.
"""


@dataclass(frozen=True)
class Answers:
    """What a variant answered on validation, and what that is worth."""

    frame: pd.DataFrame
    """The rows of `paths.validation`, `threshold` being the one that was applied to the row (none: empty), and `rank`:
    the place of the truth, `new_whale` ranked at that threshold, from 1 to 5, 0 beyond."""
    threshold: float | None
    """The chosen one; None where the variant has none."""
    threshold_auto: float | None
    figures: Mapping[str, float]
    """Those of `paths.metrics`."""
    curve: pd.DataFrame | None
    """`threshold,map5,map5_known,map5_unknown`; None where there is no threshold."""
    unknown_share: float
    """How many of the queries to come, duplicates apart, are expected to be of no known whale."""
    duplicate_share: float
    """How many of them duplicate a labelled photo."""
    photos_of_whale: pd.Series[int]
    """The number of photos that validation is compared with, by whale."""


@dataclass(frozen=True)
class Queries:
    """The queries to come as they were answered."""

    frame: pd.DataFrame
    """`Image,label1..label5,probability1..probability5,truth,leaked`: the ranking as it is submitted; the probability of
    `new_whale` is the threshold, and empty where there is none; `truth` is empty where it is not known."""


@dataclass(frozen=True)
class Photos:
    """Where the photos are, and which of a whale's is most like a query."""

    root: Path
    """The catalogue's folder."""
    part: Mapping[str, str]
    """`train` or `test` of each Image."""
    nearest_validation: Nearest
    nearest_test: Nearest

    def path(self, image: str) -> Path:
        """Return the file of a photo."""
        return self.root / self.part[image] / image


def write(folder: Path, variant: str, answers: Answers | None, queries: Queries, photos: Photos) -> None:
    """Write the report of `variant` whole; `answers` is None where validation asked nothing."""
    with files.replacing_folder(folder) as temporary:
        (temporary / "report.html").write_text(f"<!doctype html><title>{variant}</title>\n", encoding="utf-8")
