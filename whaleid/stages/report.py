"""Stage `report`: a page for every prediction, and the tables that its plots draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.core import features, files, paths
from whaleid.core.labels import PHASH
from whaleid.core.record import Record, Report
from whaleid.identification import validation
from whaleid.identification.figures import decide
from whaleid.identification.ranking import LABELS
from whaleid.identification.scores import nearest_photos
from whaleid.identification.validation import Shares
from whaleid.images.thumbnails import thumbs
from whaleid.report import prediction, tables
from whaleid.report.names import SHEETS
from whaleid.report.prediction import Content, QuerySheet

if TYPE_CHECKING:
    from whaleid.config import Params

Nearest = Callable[[Sequence[tuple[str, str]]], list[str]]
"""Maps pairs of a query's Image and a whale to that whale's labelled photo most like the query, or an empty string."""


@dataclass(frozen=True)
class Inputs:
    """The tables that all predictions share."""

    catalog: pd.DataFrame
    split: pd.DataFrame
    groups: pd.DataFrame
    leaks: pd.DataFrame
    solution: pd.DataFrame


def run(params: Params) -> dict[str, Record]:
    """Write the folders `paths.PAGES` and `paths.TABLES`; return the record of each prediction.

    Raises:
        InputProblems: photos on a page are missing or damaged.
    """
    inputs = Inputs(*map(files.read_csv, (paths.CATALOG, paths.SPLIT, paths.GROUPS, paths.LEAKS, paths.SOLUTION)))
    contents = {name: _content(params, name, inputs) for name in params.predictions}
    part = dict(zip(inputs.catalog["Image"], inputs.catalog["part"], strict=True))
    images = sorted({image for content in contents.values() for image in content.photos})
    photos = thumbs({image: Path(params.data.root) / part[image] / image for image in images})
    with files.replacing_folder(paths.PAGES) as pages, files.replacing_folder(paths.TABLES) as folder:
        for name, content in contents.items():
            html = prediction.render(content, {image: photos[image] for image in content.photos})
            (pages / paths.page(name).name).write_text(html, encoding="utf-8", newline="\n")
        for table in tables.TIDY:
            # without validation, the threshold curve is that of another prediction
            frames = {
                name: content.tables[table]
                for name, content in contents.items()
                if table in content.tables and content.answers is not None
            }
            if table == "history":
                frames = {variant: files.read_csv(paths.history(variant)) for variant in params.variants}
            files.write_csv(tables.tidy(table, frames), folder / f"{table}.csv")
    print(f"report: {', '.join(str(paths.page(name)) for name in contents)}")
    return {
        name: Record(artifacts=[paths.page(name)], report=Report(paths.page(name).name, params.decision_of(name)))
        for name in contents
    }


def _content(params: Params, name: str, inputs: Inputs) -> Content:
    """Return what the page of a prediction shows."""
    folder = paths.ranking(name)
    figures = json.loads((folder / paths.THRESHOLD_FREE).read_text(encoding="utf-8"))
    auto = figures.get("threshold_auto")
    queries = files.read_csv(folder / paths.QUERIES)
    truth = dict(zip(inputs.solution["Image"], inputs.solution["Id"], strict=True))
    queries = queries.assign(truth=queries["Image"].map(truth).fillna(""), threshold=auto)
    leaked = queries[queries["leaked"] == 1].assign(whale=lambda rows: rows["truth"])
    answers, classes = None, []
    plotted: dict[str, pd.DataFrame] = {}
    examples: dict[str, pd.DataFrame] = {}
    if auto is not None:
        plotted["threshold"] = files.read_csv(paths.ranking(params.calibration_of(name)) / paths.CURVE)
    if (folder / paths.VALIDATION).exists():
        answers = decide(files.read_csv(folder / paths.VALIDATION), auto, by_fold=True)
        photos_of_whale = validation.gallery(inputs.split, held_out=False)["Id"].value_counts()
        classes = tables.photo_classes(answers, photos_of_whale)
        shares = Shares(figures["unknown_share"], figures["duplicate_share"])
        plotted |= tables.plotted(answers, shares, photos_of_whale)
        examples = {key: rows for key, rows in tables.examples(answers).items() if auto is not None or len(rows)}
    nearest = _nearest(params, name, inputs, [leaked["Image"], *(rows["Image"] for rows in examples.values())])
    sheets = [QuerySheet(*SHEETS[key], rows, _photos(rows, nearest[0])) for key, rows in examples.items()]
    caption = f"{len(leaked):,} queries to identify duplicate a labelled photo."
    sheets.append(QuerySheet("Leaks", caption, leaked, _photos(leaked, nearest[1]), folded=True))
    return Content(name, params.predictions[name].calibrated_by, figures, queries, answers, classes, plotted, sheets)


def _photos(queries: pd.DataFrame, nearest: Nearest) -> list[list[str]]:
    """Return, for each query and each of its five labels, the photo of that whale."""
    pairs = [(image, label) for image, *labels in queries[["Image", *LABELS]].to_numpy().tolist() for label in labels]
    photos = nearest(pairs)
    return [photos[start : start + len(LABELS)] for start in range(0, len(photos), len(LABELS))]


def _nearest(params: Params, name: str, inputs: Inputs, images: Iterable[Iterable[str]]) -> tuple[Nearest, Nearest]:
    """Return functions for validation queries and for queries to identify; `images` are those queries."""
    if name == PHASH:
        labelled = inputs.groups[inputs.groups["part"] == "train"].sort_values("Image")
        pairs = labelled.merge(labelled, on="group", suffixes=("_query", ""))
        pairs = pairs[pairs["Image"] != pairs["Image_query"]]
        leaks = inputs.leaks
        return (
            _first(pairs["Image_query"], pairs["Id"], pairs["Image"]),
            _first(leaks["query"], leaks["Id"], leaks["photo"]),
        )
    validated, queried = (validation.gallery(inputs.split, held_out=held_out) for held_out in (False, True))
    needed = set(queried["Image"]).union(*images)
    networks = features.load({network: network for network in params.predictions[name].networks}, needed)

    def nearest(pairs: Sequence[tuple[str, str]], photos: pd.DataFrame) -> list[str]:
        queries = {network: each.select(image for image, _ in pairs) for network, each in networks.items()}
        photos_of = {str(whale): rows.tolist() for whale, rows in photos.groupby("Id")["Image"]}
        return nearest_photos(networks, queries, [whale for _, whale in pairs], photos_of)

    return partial(nearest, photos=validated), partial(nearest, photos=queried)


def _first(queries: pd.Series[str], whales: pd.Series[str], photos: pd.Series[str]) -> Nearest:
    """Return a function that maps (query, whale) to the first matching photo; `''` if there is none."""
    first: dict[tuple[str, str], str] = {}
    for query, whale, photo in zip(queries, whales, photos, strict=True):
        first.setdefault((query, whale), photo)
    return lambda pairs: [first.get(pair, "") for pair in pairs]
