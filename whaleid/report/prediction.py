"""The HTML page of a prediction. A script displays the embedded values at the threshold that the slider selects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from whaleid.core.labels import NEW_WHALE
from whaleid.identification.map5 import Shares
from whaleid.identification.ranking import LABELS, PROBABILITIES
from whaleid.identification.threshold import THRESHOLDS
from whaleid.report import pages, tables
from whaleid.report.names import BASELINES, NAMES, ROLES, TILES
from whaleid.report.sheets import Cell, Sheet, Strip
from whaleid.report.tables import Table

BARS = {"map5": "this prediction", "solution_map5": "by the solution", **BASELINES}
"""Display names of the figures in the bar chart of MAP@5, by key."""


@dataclass(frozen=True)
class Content:
    """The content of the page of a prediction."""

    name: str
    calibrated_by: str | None
    """The prediction whose weights and threshold are used; None if `name` is validated itself."""
    figures: Mapping[str, float]
    """The figures of `paths.THRESHOLD_FREE`, by key."""
    queries: pd.DataFrame
    """The queries: `Image,leaked,threshold`, `LABELS`, `PROBABILITIES` and `truth`, empty where it is not known."""
    answers: pd.DataFrame | None
    """The rows of `paths.VALIDATION`, decided at `auto`; None if the prediction is not validated."""
    tables: Mapping[str, Table]
    """The table of each plot, by its name in `templates/prediction.html`."""
    sheets: Sequence[Sheet]


def sheet(
    title: str, caption: str, queries: pd.DataFrame, photos: Sequence[Sequence[str]], folded: bool = False
) -> Sheet:
    """Return a contact sheet with one strip per query: the query, its whales and `new_whale`.

    `new_whale` is last; the script of the page moves it to its rank. `queries` has the columns
    `Image,truth,whale,threshold`, `LABELS` and `PROBABILITIES`; `truth` is empty where it is not known. `photos` has,
    for each query and each of its five labels, the Image of a photo of that whale, or `''`.
    """
    strips = []
    for query, images in zip(queries.fillna({"threshold": 0.0}).to_dict("records"), photos, strict=True):
        truth, probabilities = query["truth"], [query[key] for key in PROBABILITIES]
        held_out = "" if query["whale"] == truth else f"{query['whale']}, held out"
        whales = [
            Cell(image, query[label], bold=f"{probability:.3f}")
            for image, label, probability in zip(images, LABELS, probabilities, strict=True)
            if query[label]
        ]
        first = Cell(query["Image"], truth or query["Image"], bold="query", title=held_out or truth, kind="query")
        last = Cell("", NEW_WHALE, bold="\N{EN DASH}", placeholder="new")
        data = {"truth": truth, "auto": query["threshold"], "probabilities": probabilities}
        strips.append(Strip([first, *whales, last], data=data))
    return Sheet(title, caption, strips, folded, "ranked")


def render(content: Content, photos: Mapping[str, bytes]) -> str:
    """Render the page as HTML. `photos` maps each Image on `content.sheets` to its JPEG file."""
    data = values(content)
    return pages.render(
        "prediction.html",
        f"whaleid: {content.name}",
        photos,
        lead=_lead(content),
        content=content,
        data=data,
        tiles=TILES,
        bars=BARS,
        groups=groups([*data["figures"]]),
    )


def values(content: Content) -> dict[str, Any]:
    """Return the values that the script of the page reads, to be embedded as JSON.

    A value that depends on the threshold is a list over the thresholds of `tables.ranks_by_threshold`.
    """
    leaks = content.queries[(content.queries["truth"] != "") & (content.queries["leaked"] == 1)]
    ranked_first = (tables.ranks_by_threshold(leaks) == 1).sum(axis=0)
    return {
        "auto": content.figures.get("threshold_auto"),
        "steps": len(THRESHOLDS) - 1,
        "unknown_share": content.figures["unknown_share"],
        "figures": figure_texts(content),
        "leaks": [f"{number:,} of {len(leaks):,}" for number in ranked_first] if len(leaks) else [],
        "tables": {
            name: {key: np.round(column.T, 6).tolist() for key, column in table.items()}
            for name, table in content.tables.items()
        },
    }


def figure_texts(content: Content) -> dict[str, list[list[str]]]:
    """Format every figure: its value and, if it has one, the ends of its 95 % interval.

    Returns `[value]` or `[value, low, high]` by key, in a list over the thresholds of `tables.ranks_by_threshold`. The
    list has a single element if the figure does not depend on the threshold.
    """
    fixed = content.figures
    rows: dict[str, Sequence[Sequence[float]]] = {
        key: [[fixed[name] for name in (key, f"{key}_low", f"{key}_high") if name in fixed]]
        for key in fixed
        if not key.endswith(("_low", "_high"))
    }
    if content.answers is not None:
        rows |= tables.figures(content.answers, Shares(fixed["unknown_share"], fixed["duplicate_share"]))
        if "threshold_auto" in fixed:
            map5 = [value for value, *_ in rows["map5"]]
            rows["threshold_cost"] = [[round(map5[-1] - value, 9) + 0.0] for value in map5]
    rows |= tables.solution_figures(content.queries[content.queries["truth"] != ""])
    return {key: [[_text(key, value) for value in row] for row in column] for key, column in rows.items()}


def groups(figures: Sequence[str]) -> dict[str, dict[str, tuple[str, str]]]:
    """Return the display name and description of each of `figures`, by heading and key; unnamed ones are in `More`."""
    groups = {title: {key: text for key, text in group.items() if key in figures} for title, group in NAMES.items()}
    named = {key for group in groups.values() for key in group}
    groups["More"] = {key: (key, "") for key in figures if key not in named}
    return {title: group for title, group in groups.items() if group}


def _text(key: str, value: float) -> str:
    """Format a figure with three decimals, a threshold with four digits; both are first rounded as in JSON files."""
    value = float(f"{value:.6g}")
    return f"{value:.4g}" if key.startswith("threshold") else f"{value:.3f}"


def _lead(content: Content) -> list[str]:
    """Return the paragraphs at the top of the page."""
    lead = []
    if content.answers is None:
        lead.append(
            f"Not validated: {content.name} has learnt validation's photos. Its weights and threshold come from "
            f"{content.calibrated_by}."
        )
    else:
        roles = content.answers["role"].value_counts()
        counts = ", ".join(f"{roles[role]:,} {text}" for role, text in ROLES.items() if role in roles)
        lead.append(f"Validation has {len(content.answers):,} queries: {counts}.")
        if "unknown" not in roles and "new_whale" in roles:
            lead.append("Validation holds out no whale, so photos labelled new_whale stand for unknown whales.")
    graded = (content.queries["truth"] != "").sum()
    solution = f"; the solution has {graded:,} of them" if graded else ""
    lead.append(f"There are {len(content.queries):,} queries to identify{solution}.")
    if "threshold_auto" not in content.figures:
        lead.append("This prediction has no threshold: duplicates alone decide.")
    return lead
