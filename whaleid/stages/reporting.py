"""What `predict` shows a person: six pictures with their tables, and one page that joins them with contact sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from whaleid.core import files
from whaleid.core.labels import NEW_WHALE
from whaleid.identification import validation
from whaleid.images.thumbnails import thumbs
from whaleid.report import curves, page, plots, tables
from whaleid.report.choice import Shown, chosen, submitted, validated
from whaleid.report.page import Sheet
from whaleid.report.pictures import Picture

TITLES = {
    "threshold": "MAP@5 by threshold",
    "unknown_share": "MAP@5 by share of unknown queries",
    "reliability": "Reliability, before and after calibration",
    "scores": "Probability of the best whale",
    "ranks": "Rank of the truth, known whales",
    "photos": "MAP@5 by photos of the whale",
}
"""Of the pictures, by the names of their files."""
SHEETS = {
    "right": ("Most confident, and right", "Validation queries whose whale was named first, the most probable on top."),
    "wrong": ("Most confident, and wrong", "A whale was named first that is not the truth, the most probable on top."),
    "close": ("Closest to the threshold", "The best whale's probability is nearest to the threshold."),
}
ROLES = {
    "known": "of known whales",
    "unknown": "of unknown whales",
    "duplicate": "duplicates",
    "new_whale": "labelled new_whale",
    "new_whale_train": "training photos labelled new_whale",
}
ERRORS = {"ece_uncalibrated": "before", "ece": "after", "ece_chance": "by chance"}
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
    curve: pd.DataFrame | None
    """`threshold,map5,map5_known,map5_unknown`; None where there is no threshold."""
    unknown_share: float
    """How many of the queries to come, duplicates apart, are expected to be of no known whale."""
    duplicate_share: float
    """How many of them duplicate a labelled photo."""
    photos_of_whale: pd.Series[int]
    """The number of photos that validation is compared with, by whale."""


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


def write(
    folder: Path,
    variant: str,
    figures: Mapping[str, float],
    answers: Answers | None,
    queries: pd.DataFrame,
    photos: Photos,
) -> None:
    """Write the report of `variant` whole: `report.html`, and each of its pictures with the table behind it.

    Args:
        folder: is replaced.
        variant: its name.
        figures: those of `paths.metrics`.
        answers: None where validation asked nothing; then there is the page alone, with what is known of `queries`.
        queries: those to come as they were answered: `Image,label1..label5,probability1..probability5,truth,leaked`;
            the probability of `new_whale` is the threshold, NaN where there is none; `truth` is an empty string where
            it is not known; `leaked` says whether the query duplicates a labelled photo.
        photos: where they are.

    Raises:
        InputProblems: photos are missing or damaged.
    """
    leaked = [submitted(row) for row in _rows(queries[queries["leaked"]].sort_values("Image"))]
    sheets = [] if answers is None else _validation_sheets(answers, photos)
    sheets.append(Sheet("Leaks", _of_leaks(leaked), _beside(leaked, photos.nearest_test), folded=True))
    pictures = {} if answers is None else _pictures(figures, answers)
    shown = thumbs({image: photos.path(image) for image in sorted(page.images(sheets))})
    lead = _lead(answers, len(queries))
    html = page.render(f"whaleid: {variant}", lead, figures, list(pictures.values()), sheets, shown)
    with files.replacing_folder(folder) as temporary:
        for name, picture in pictures.items():
            files.write_csv(picture.table, temporary / f"{name}.csv")
            (temporary / f"{name}.png").write_bytes(picture.png)
        (temporary / "report.html").write_text(html, encoding="utf-8", newline="\n")


def _pictures(figures: Mapping[str, float], answers: Answers) -> dict[str, Picture]:
    """Return the pictures by the names of their files; those of probabilities only where there is a threshold."""
    frame = answers.frame
    made: dict[str, Picture] = {}

    def add(name: str, says: str, table: pd.DataFrame, figure: Figure) -> None:
        made[name] = Picture(TITLES[name], says, plots.png(figure), table)

    if answers.curve is not None and answers.threshold is not None and answers.threshold_auto is not None:
        says = "Whales above the threshold come before new_whale. Overall weighs kinds as they are expected to come."
        drawn = curves.threshold(answers.curve, answers.threshold_auto, answers.threshold)
        add("threshold", says, answers.curve, drawn)
    table = tables.unknown_share(frame, answers.duplicate_share)
    says = "Exact, since MAP@5 is a mean, at the same threshold: for another declared share, another is found. "
    says += f"Duplicates are {answers.duplicate_share:.1%} of the queries throughout."
    add("unknown_share", says, table, curves.unknown_share(table, answers.unknown_share))
    if answers.threshold is not None:
        importance = validation.importance(frame["role"], answers.unknown_share, answers.duplicate_share)
        table = tables.reliability(frame, importance)
        errors = [f"{figures[key]:.3f} {when}" for key, when in ERRORS.items() if key in figures]
        says = f"On the dotted line what is said is true. Mean distance (ECE): {', '.join(errors) or 'not measured'}."
        add("reliability", says, table, curves.reliability(table))
        table = tables.scores(frame)
        says = "The less blue and grey overlap, the better one threshold parts known from unknown."
        add("scores", says, table, curves.scores(table, answers.threshold))
    table = tables.ranks(frame)
    add("ranks", "Where new_whale stands before the truth, it costs one place.", table, curves.ranks(table))
    table = tables.photos(frame, answers.photos_of_whale)
    says = "Queries of known whales, by how many photos of their whale they are compared with."
    add("photos", says, table, curves.photos(table))
    return made


def _validation_sheets(answers: Answers, photos: Photos) -> list[Sheet]:
    sheets = []
    for name, rows in chosen(answers.frame).items():
        title, says = SHEETS[name]
        shown = [validated(row) for row in _rows(rows)]
        if not shown and answers.threshold is None:
            continue
        sheets.append(Sheet(title, says, _beside(shown, photos.nearest_validation)))
    return sheets


def _beside(shown: Sequence[Shown], nearest: Nearest) -> list[tuple[Shown, list[str]]]:
    """Return each query with the photo of each of its candidates; `new_whale` has none."""
    pairs = [(query.image, found.label) for query in shown for found in query.candidates if found.label != NEW_WHALE]
    found = dict(zip(pairs, nearest(pairs), strict=True)) if pairs else {}
    return [
        (query, [found.get((query.image, candidate.label), "") for candidate in query.candidates]) for query in shown
    ]


def _lead(answers: Answers | None, queries: int) -> list[str]:
    """Return what is said on top of the page."""
    asked = f"{queries:,} queries to come were answered."
    if answers is None:
        return [f"{asked} Validation asked nothing: its photos were learnt, too."]
    roles = answers.frame["role"].value_counts()
    counted = [f"{roles[role]:,} {name}" for role, name in ROLES.items() if role in roles]
    lead = [f"Validation asked {len(answers.frame):,} queries: {', '.join(counted)}. {asked}"]
    if "unknown" not in roles and "new_whale" in roles:
        lead.append("Validation holds out no whale, so photos labelled new_whale stand for unknown whales.")
    if answers.threshold is not None and answers.threshold_auto is not None:
        auto = f"auto, found on validation: {answers.threshold_auto:g}"
        same = answers.threshold == answers.threshold_auto
        lead.append(f"Threshold {auto}." if same else f"Threshold {answers.threshold:g} ({auto}).")
    return lead


def _of_leaks(leaked: Sequence[Shown]) -> str:
    said = f"{len(leaked):,} queries to come duplicate a labelled photo."
    graded = [query.rank for query in leaked if query.truth]
    if graded:
        said += f" Named first, where the truth is known: {sum(rank == 1 for rank in graded):,} of {len(graded):,}."
    return said


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
