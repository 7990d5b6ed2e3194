"""The page of a prediction: its values as JSON, and a script that shows them at any threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from whaleid.core.labels import NEW_WHALE
from whaleid.identification.map5 import Shares, kinds
from whaleid.identification.ranking import LABELS, PROBABILITIES
from whaleid.report import pages, sheets, tables
from whaleid.report.names import BASELINES, NAMES, ROLES, TILES
from whaleid.report.sheets import Cell, Sheet, Strip

NO_ANSWERS = pd.DataFrame(
    columns=["Image", "whale", "role", "truth", "threshold", "photo_class", *LABELS, *PROBABILITIES]
)


@dataclass(frozen=True)
class QuerySheet:
    """Queries with their whales."""

    title: str
    caption: str
    queries: pd.DataFrame
    """`Image,truth,whale,threshold`, labels and probabilities; `truth` is empty where it is not known."""
    photos: Sequence[Sequence[str]]
    """For each query and each of its five labels, the Image of a photo of that whale, or an empty string."""
    folded: bool = False


@dataclass(frozen=True)
class Content:
    """What the page of a prediction shows."""

    name: str
    calibrated_by: str | None
    figures: Mapping[str, float]
    """Those of `paths.THRESHOLD_FREE`."""
    queries: pd.DataFrame
    """The queries to identify: `Image,leaked`, labels, probabilities, and `truth`, empty where it is not known."""
    answers: pd.DataFrame | None
    """The rows of `paths.VALIDATION` decided at `auto`, with `photo_class`; None if the prediction is not validated."""
    tables: Mapping[str, pd.DataFrame]
    """Those of the plots to draw, by the names in `templates/prediction.html`."""
    query_sheets: Sequence[QuerySheet]

    @property
    def sheets(self) -> list[Sheet]:
        """The contact sheets, `new_whale` last in each strip: the script moves it to its rank."""
        return [
            Sheet(sheet.title, sheet.caption, _strips(sheet), sheet.folded, "ranked") for sheet in self.query_sheets
        ]

    @property
    def photos(self) -> list[str]:
        """The Image of each photo on the page."""
        return sheets.photos(self.sheets)


def render(content: Content, photos: Mapping[str, bytes]) -> str:
    """Return the page; `photos` holds the JPEG file of each of `content.photos`."""
    return pages.render(
        "prediction.html",
        f"whaleid: {content.name}",
        photos,
        lead=_lead(content),
        auto=content.figures.get("threshold_auto"),
        validated=content.answers is not None,
        calibrated_by=content.calibrated_by,
        figures=content.figures,
        tables=content.tables.keys(),
        sheets=content.sheets,
        values=values(content),
    )


def values(content: Content) -> dict[str, object]:
    """Return the values that the script reads."""
    answers, figures = NO_ANSWERS if content.answers is None else content.answers, content.figures
    shares = Shares(figures["unknown_share"], figures["duplicate_share"])
    kind = kinds(answers["role"])
    whales = answers["whale"].where(answers["whale"] != NEW_WHALE, answers["Image"])
    graded = content.queries[content.queries["truth"] != ""].assign(threshold=figures.get("threshold_auto"))
    curves = ("threshold", "unknown_share", "reliability", "scores", "photos")
    return {
        "auto": figures.get("threshold_auto"),
        "shares": {"unknown": shares[0], "duplicate": shares[1]},
        "figures": figures,
        "queries": _ranked(answers)
        | {
            "kind": kind.tolist(),
            "role": answers["role"].tolist(),
            "queries_of_whale": whales.groupby([kind, whales]).transform("size").tolist(),
            "photo_class": answers["photo_class"].tolist(),
        },
        "solution": _ranked(graded) | {"leaked": graded["leaked"].tolist()},
        "intervals": {} if content.answers is None else tables.intervals_by_threshold(content.answers, shares),
        "curves": {name: content.tables[name].to_dict("list") for name in curves if name in content.tables},
        "sheets": [
            _ranked(sheet.queries, zeros=True) | {"graded": (sheet.queries["truth"] != "").tolist()}
            for sheet in content.query_sheets
        ],
        "tiles": list(TILES.items()),
        "bars": [("map5", "this prediction"), ("solution_map5", "by the solution"), *BASELINES.items()],
        "names": _names(figures),
    }


def _names(figures: Mapping[str, float]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return headings, and below each the key, name and meaning of its figures; every one of `figures` has a row."""
    groups = NAMES | {"Baselines, MAP@5": {key: (name, "") for key, name in BASELINES.items()}}
    named = {key for group in groups.values() for key in group}
    groups["More"] = {key: (key, "") for key in figures if key not in named and not key.endswith(("_low", "_high"))}
    return [(heading, [(key, *text) for key, text in group.items()]) for heading, group in groups.items()]


def _ranked(queries: pd.DataFrame, zeros: bool = False) -> dict[str, list[object]]:
    """Return what the rank of each query's truth depends on; `auto` is the threshold of the query, or None.

    Probabilities of 0 are left out unless `zeros` are to be shown: they are above no threshold.
    """
    probabilities = queries[PROBABILITIES].to_numpy(dtype=np.float64).tolist()
    return {
        "place": tables.places(queries).tolist(),
        "probabilities": [[value for value in row if value > 0 or zeros] for row in probabilities],
        "auto": queries["threshold"].astype(object).where(queries["threshold"].notna(), None).tolist(),
    }


def _strips(sheet: QuerySheet) -> list[Strip]:
    """Return for each query: itself, its whales and `new_whale`; the script writes the bold lines."""
    strips = []
    for query, photos in zip(sheet.queries.to_dict("records"), sheet.photos, strict=True):
        title = query["truth"] if query["whale"] == query["truth"] else f"{query['whale']}, held out"
        cells = [Cell(query["Image"], query["truth"] or query["Image"], bold="", title=title, kind="query")]
        cells += [
            Cell(photo, query[label], bold="") for label, photo in zip(LABELS, photos, strict=True) if query[label]
        ]
        strips.append(Strip([*cells, Cell("", NEW_WHALE, bold="", none="new")]))
    return strips


def _lead(content: Content) -> list[str]:
    """Return the paragraphs on top of the page."""
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
