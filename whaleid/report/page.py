"""The page of a prediction: its values as JSON, and the script that shows them at any threshold.

Labels and file names come from outside: they reach the page as JSON alone, and the script writes them as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np
import pandas as pd

from whaleid.identification.answers import LABELS, PROBABILITIES
from whaleid.identification.validation import kinds
from whaleid.report import tables
from whaleid.report.document import document, numbers
from whaleid.report.names import BASELINES, NAMES, PLOTS, ROLES, TILES

SCRIPT = "".join(files("whaleid.report").joinpath(name).read_text(encoding="utf-8") for name in ("plots.js", "page.js"))
NONE = pd.DataFrame(columns=["Image", "whale", "role", "truth", "threshold", *LABELS, *PROBABILITIES])
"""The validation queries of a prediction that is not validated."""


@dataclass(frozen=True)
class Sheet:
    """Queries with their whales."""

    title: str
    caption: str
    queries: pd.DataFrame
    """`Image,truth,whale,threshold`, labels and probabilities; `truth` is empty where it is not known."""
    photos: Sequence[Sequence[str]]
    """For each query and each of its five labels the Image of a photo of that whale, or an empty string."""
    folded: bool = False


@dataclass(frozen=True)
class Content:
    """What the page of a prediction shows."""

    name: str
    calibrated_by: str | None
    figures: Mapping[str, float]
    """Those of `paths.THRESHOLD_FREE`."""
    queries: pd.DataFrame
    """The queries to come: `Image,leaked`, labels, probabilities, and `truth`, empty where it is not known."""
    answers: pd.DataFrame | None
    """The rows of `paths.VALIDATION` decided at `auto`; None where the prediction is not validated."""
    photo_classes: Sequence[int]
    """For each of `answers`, the row of the table `photos` that counts it, or -1."""
    tables: Mapping[str, pd.DataFrame]
    """By the names of `PLOTS`; a plot without a table is not drawn."""
    sheets: Sequence[Sheet]

    @property
    def images(self) -> set[str]:
        """The Image of every photo on the page."""
        of_whales = {image for sheet in self.sheets for row in sheet.photos for image in row if image}
        return of_whales.union(*(sheet.queries["Image"] for sheet in self.sheets))


def render(content: Content, photos: Mapping[str, bytes]) -> str:
    """Return the page; `photos` has the JPEG file of each of `content.images`, which is embedded once."""
    title = f"whaleid: {content.name}"
    embedded = json.dumps(values(content, numbers(photos)), allow_nan=False, separators=(",", ":"))
    embedded = embedded.replace("<", "\\u003c")  # else a label could end the script
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(paragraph)}</p>" for paragraph in _lead(content)),
        "<noscript><p><b>This page needs JavaScript.</b></p></noscript>",
        _control(content),
        '<div class="tiles" id="tiles"></div>',
        _baselines(content),
        _plots(content),
        _sheets(content),
        '<h2>All figures</h2>\n<table class="figures"><tbody id="figures"></tbody></table>',
        f'<script type="application/json" id="data">{embedded}</script>',
        f"<script>\n{SCRIPT}</script>",
    ]
    return document(title, "\n".join(part for part in body if part), photos)


def values(content: Content, number: Mapping[str, int]) -> dict[str, object]:
    """Return what the script reads; `number` is that of each embedded photo."""
    answers, figures = NONE if content.answers is None else content.answers, content.figures
    shares = figures["unknown_share"], figures["duplicate_share"]
    kind = kinds(answers["role"])
    same = pd.DataFrame({"kind": kind, "whale": answers["whale"].to_numpy(), "Image": answers["Image"].to_numpy()})
    same["whale"] = same["whale"].where(same["whale"] != "new_whale", same["Image"])
    graded = content.queries[content.queries["truth"] != ""]
    named = {key for group in NAMES.values() for key in group} | BASELINES.keys()
    rest = {key: (key, "") for key in figures if key not in named and not key.endswith(("_low", "_high"))}
    groups = NAMES | {"Baselines, MAP@5": {key: (name, "") for key, name in BASELINES.items()}, "More": rest}
    return {
        "auto": figures.get("threshold_auto"),
        "shares": {"unknown": shares[0], "duplicate": shares[1]},
        "figures": figures,
        "queries": _ranked(answers)
        | {
            "kind": kind.tolist(),
            "role": answers["role"].tolist(),
            "of_whale": same.groupby(["kind", "whale"])["Image"].transform("size").tolist(),
            "photos": list(content.photo_classes),
        },
        "solution": _ranked(graded.assign(threshold=figures.get("threshold_auto")))
        | {"leaked": graded["leaked"].tolist()},
        "intervals": {} if content.answers is None else tables.ends(content.answers, shares),
        "curve": _columns(content.tables.get("threshold")),
        **{name: _columns(content.tables.get(name)) for name in ("unknown_share", "reliability", "scores", "photos")},
        "sheets": [_strips(sheet, number) for sheet in content.sheets],
        "images": sorted(number),
        "tiles": [*TILES.items()],
        "bars": [*({"map5": "this prediction", "solution_map5": "by the solution"} | BASELINES).items()],
        "names": [[heading, [[key, *text] for key, text in group.items()]] for heading, group in groups.items()],
    }


def _ranked(queries: pd.DataFrame) -> dict[str, object]:
    """Return what the rank of each query's truth depends on."""
    return {
        "place": tables.places(queries).tolist(),
        "probabilities": queries[PROBABILITIES].to_numpy(dtype=np.float64).tolist(),
        "auto": _optional(queries["threshold"]),
    }


def _strips(sheet: Sheet, number: Mapping[str, int]) -> list[dict[str, object]]:
    rows = sheet.queries
    strips = []
    for row, place, threshold, photos in zip(
        rows.to_dict("records"), tables.places(rows).tolist(), _optional(rows["threshold"]), sheet.photos, strict=True
    ):
        labels = [row[label] for label in LABELS if row[label]]
        strips.append(
            {
                "photo": number[row["Image"]],
                "truth": row["truth"],
                "whale": row["whale"],
                "place": place,
                "auto": threshold,
                "labels": labels,
                "probabilities": [row[column] for column in PROBABILITIES[: len(labels)]],
                "photos": [number.get(image) for image in photos[: len(labels)]],
            }
        )
    return strips


def _optional(thresholds: pd.Series[float]) -> list[float | None]:
    return [None if pd.isna(threshold) else float(threshold) for threshold in thresholds]


def _columns(table: pd.DataFrame | None) -> dict[str, list[float]] | None:
    return None if table is None else {str(name): column.tolist() for name, column in table.items()}


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


def _control(content: Content) -> str:
    """Return the bar that chooses a threshold; nothing for a prediction without one."""
    if "threshold_auto" not in content.figures:
        return ""
    auto = content.figures["threshold_auto"]
    folds = " Validation uses the threshold of each fold." if content.answers is not None else ""
    return (
        '<div class="control"><label for="slider">threshold</label>'
        f'<input type="range" id="slider" min="0" max="1" step="0.005" value="{auto}">'
        f'<input type="number" id="value" min="0" max="1" step="any" value="{auto}" aria-label="threshold, any value">'
        f'<button type="button" id="auto" aria-pressed="true" title="The threshold fitted on validation.{folds}">'
        f'auto {auto:g}</button><output id="now" for="slider value"></output></div>'
    )


def _baselines(content: Content) -> str:
    if content.answers is None:
        return ""
    grid = ", at multiples of 0.005 and at auto" if "threshold_auto" in content.figures else ""
    return (
        '<h2>MAP@5 beside the baselines</h2>\n<table class="bars"><tbody id="bars"></tbody></table>\n'
        f"<p>Brackets are 95 % intervals, bootstrapped by whale{grid}.</p>"
    )


def _plots(content: Content) -> str:
    figures = content.figures
    errors = {"ece_uncalibrated": "before", "ece": "after", "ece_chance": "by chance"}
    measured = ", ".join(f"{figures[key]:.3f} {text}" for key, text in errors.items() if key in figures)
    lent = f"On the validation queries of {content.calibrated_by}. " if content.answers is None else ""
    other = "" if content.answers is None else ", unlike in the MAP@5 above"
    same = "At the same threshold; another declared share would have another auto. " if "ece" in figures else ""
    captions = {
        "threshold": f"{lent}Whales above the threshold rank before new_whale. Duplicates are left out{other}; "
        "overall weights known and unknown queries by their expected shares. The curve has one threshold for all "
        "queries; auto is marked at the threshold fitted on all of validation.",
        "unknown_share": f"{same}Duplicates are {figures['duplicate_share']:.1%} of the queries throughout.",
        "reliability": f"On the dotted line, probabilities are true. Mean distance (ECE): {measured or 'not measured'}."
        " No threshold changes this plot.",
        "scores": "The less blue and grey overlap, the better one threshold separates known from unknown queries.",
        "ranks": "Where new_whale ranks before the truth, it costs one place.",
        "photos": "Queries of known whales, by the number of photos of their whale that they are compared with.",
    }
    plots = [
        f'<figure data-plot="{name}"><h3>{escape(title)}</h3><div class="plot"></div>'
        f"<figcaption>{escape(captions[name])}</figcaption>"
        "<details><summary>table</summary><div></div></details></figure>"
        for name, title in PLOTS.items()
        if name in content.tables
    ]
    return f'<h2>Curves</h2>\n<div class="pictures">\n{"".join(plots)}\n</div>' if plots else ""


def _sheets(content: Content) -> str:
    moves = " new_whale moves with the threshold; the queries of each sheet are chosen at auto."
    parts = [
        "<h2>Contact sheets</h2>",
        '<p class="key"><b class="ok">✓</b>the truth <b class="no">✗</b>wrong; pale after the truth. On the left is '
        "the query with its truth and the rank of the truth; beside it are five labels, each with its probability and "
        f"the labelled photo of that whale most like the query.{moves if 'threshold_auto' in content.figures else ''}"
        "</p>",
    ]
    for place, sheet in enumerate(content.sheets):
        strips = f'<div class="sheet" data-sheet="{place}"></div>' if len(sheet.queries) else "<p>None.</p>"
        graded = ' <span id="leaks"></span>' if sheet.folded else ""
        parts.append(f"<h3>{escape(sheet.title)}</h3>\n<p>{escape(sheet.caption)}{graded}</p>")
        fold = sheet.folded and len(sheet.queries)
        parts.append(f"<details><summary>Show all</summary>{strips}</details>" if fold else strips)
    return "\n".join(parts)
