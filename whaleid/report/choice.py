"""Which queries a person looks at first, and how an answer is laid out beside its query."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from whaleid.core.labels import NEW_WHALE, PLACES
from whaleid.identification.validation import kinds

SHOWN = 12
"""Queries on each sheet of validation."""


@dataclass(frozen=True)
class Candidate:
    """A label of a ranking."""

    label: str
    probability: float | None
    """Of `new_whale` the threshold; None where there is none."""
    right: bool | None
    """None where the truth is not known."""


@dataclass(frozen=True)
class Shown:
    """A query and the five labels it was answered with, the likeliest first."""

    image: str
    truth: str
    """Empty where it is not known."""
    whale: str
    """Whose photo it is; of a whale that was held out, that whale, though `truth` is `new_whale`."""
    candidates: tuple[Candidate, ...]

    @property
    def rank(self) -> int:
        """The place of the truth, from 1; 0 where it is not there."""
        return next((place for place, found in enumerate(self.candidates, 1) if found.right), 0)


def chosen(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of `answers` that tell most: `right`, `wrong` and `close`, at most `SHOWN` of each.

    Of queries of known whales and of certain unknowns: the most probable whales that were ranked first, rightly and
    wrongly, and the best whales that are nearest to the threshold. Equals are ordered by Image.
    """
    asked = answers[pd.Series(kinds(answers["role"]), index=answers.index).isin(["known", "unknown"])]
    asked = asked.sort_values("Image").assign(away=(asked["probability1"] - asked["threshold"]).abs())
    # no threshold, or none that a whale can be below: any whale comes before `new_whale`
    named = asked[asked["probability1"] > asked["threshold"].fillna(0)]
    named = named.sort_values("probability1", ascending=False, kind="stable")
    sheets = {
        "right": named[named["rank"] == 1],
        "wrong": named[named["rank"] != 1],
        "close": asked.dropna(subset="away").sort_values("away", kind="stable"),
    }
    return {name: rows.drop(columns="away").head(SHOWN) for name, rows in sheets.items()}


def validated(row: Mapping[str, Any]) -> Shown:
    """Lay out a row of `paths.validation`: `new_whale` stands after the whales above `threshold`."""
    whales = [(row[f"label{place}"], float(row[f"probability{place}"])) for place in range(1, PLACES + 1)]
    whales = [(label, probability) for label, probability in whales if label]
    threshold = None if pd.isna(row["threshold"]) else float(row["threshold"])
    above = sum(probability > (threshold or 0) for _, probability in whales)
    ranked: list[tuple[str, float | None]] = [*whales[:above], (NEW_WHALE, threshold), *whales[above:]]
    return Shown(row["Image"], row["truth"], row["whale"], _candidates(ranked, row["truth"]))


def submitted(row: Mapping[str, Any]) -> Shown:
    """Lay out a query to come: `Image,label1..label5,probability1..probability5,truth`, as it is ranked."""
    ranked: list[tuple[str, float | None]] = [
        (row[f"label{place}"], None if pd.isna(row[f"probability{place}"]) else float(row[f"probability{place}"]))
        for place in range(1, PLACES + 1)
        if row[f"label{place}"]
    ]
    return Shown(row["Image"], row["truth"], row["truth"], _candidates(ranked, row["truth"]))


def _candidates(ranked: list[tuple[str, float | None]], truth: str) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(label, probability, label == truth if truth else None) for label, probability in ranked[:PLACES]
    )
