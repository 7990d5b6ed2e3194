"""Stage `report`: a page for every prediction that shows it at any threshold, and the tables that its plots draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.core import files, paths
from whaleid.core.labels import PHASH
from whaleid.core.record import Record, Report
from whaleid.identification import measuring, validation
from whaleid.identification.answers import LABELS
from whaleid.images.thumbnails import thumbs
from whaleid.report import page, tables
from whaleid.report.choice import chosen
from whaleid.report.names import SHEETS
from whaleid.stages import features

if TYPE_CHECKING:
    from whaleid.config import Params

COLUMNS = {
    "threshold": ["threshold", "map5", "map5_known", "map5_unknown"],
    "unknown_share": ["unknown_share", "map5", "all_new_whale"],
    "reliability": ["least", "most", "queries", "probability", "right"],
    "scores": ["least", "most", "known_right", "known_wrong", "unknown"],
    "ranks": ["rank", "queries", "whales_alone"],
    "photos": ["least", "most", "queries", "map5"],
    "history": ["epoch", "lr", "loss", "accuracy", "validation_loss", "validation_accuracy"],
}
"""The tables of `paths.TABLES`, after the column `name`; of reliability those rows that are calibrated."""
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
        InputProblems: photos are missing or damaged.
    """
    inputs = Inputs(
        *map(files.read_csv, (paths.CATALOG, paths.SPLIT, paths.GROUPS, paths.LEAKS, paths.SOLUTION)),
    )
    contents = {name: _content(params, name, inputs) for name in params.predictions}
    histories = {variant: files.read_csv(paths.history(variant)) for variant in params.variants}
    part = dict(zip(inputs.catalog["Image"], inputs.catalog["part"], strict=True))
    images = sorted(set().union(*(content.images for content in contents.values())))
    photos = thumbs({image: Path(params.data.root) / part[image] / image for image in images})
    with files.replacing_folder(paths.PAGES) as pages, files.replacing_folder(paths.TABLES) as folder:
        for name, content in contents.items():
            html = page.render(content, {image: photos[image] for image in content.images})
            (pages / paths.page(name).name).write_text(html, encoding="utf-8", newline="\n")
        for table, frame in _tidy(contents, histories).items():
            files.write_csv(frame, folder / f"{table}.csv")
    print(f"report: {', '.join(str(paths.page(name)) for name in contents)}")
    return {
        name: Record(artifacts=[paths.page(name)], report=Report(paths.page(name).name, params.decision_of(name)))
        for name in contents
    }


def _content(params: Params, name: str, inputs: Inputs) -> page.Content:
    """Return what the page of a prediction shows."""
    folder = paths.ranking(name)
    figures = json.loads((folder / paths.THRESHOLD_FREE).read_text(encoding="utf-8"))
    auto = figures.get("threshold_auto")
    queries = files.read_csv(folder / paths.QUERIES)
    truth = dict(zip(inputs.solution["Image"], inputs.solution["Id"], strict=True))
    queries = queries.assign(truth=queries["Image"].map(truth).fillna(""), threshold=auto)
    leaked = queries[queries["leaked"] == 1].assign(whale=lambda rows: rows["truth"])
    answers, classes = None, []
    plots: dict[str, pd.DataFrame] = {}
    sheets: dict[str, pd.DataFrame] = {}
    if (folder / paths.VALIDATION).exists():
        answers = measuring.at_threshold(files.read_csv(folder / paths.VALIDATION), auto, by_part=True)
        compared = validation.gallery(inputs.split, held_out=False)["Id"].value_counts()
        classes = tables.photo_classes(answers, compared)
        plots = _tables(answers, (figures["unknown_share"], figures["duplicate_share"]), compared)
        sheets = {key: rows for key, rows in chosen(answers).items() if auto is not None or len(rows)}
    if auto is not None:
        curve = files.read_csv(paths.ranking(params.calibration_of(name)) / paths.CURVE)
        plots = {"threshold": curve} | plots
    nearest = _nearest(params, name, inputs, [leaked["Image"], *(rows["Image"] for rows in sheets.values())])
    validated = [page.Sheet(*SHEETS[key], rows, _photos(rows, nearest[0])) for key, rows in sheets.items()]
    caption = f"{len(leaked):,} queries to identify duplicate a labelled photo."
    leaks = page.Sheet("Leaks", caption, leaked, _photos(leaked, nearest[1]), folded=True)
    calibrated_by = params.predictions[name].calibrated_by
    return page.Content(name, calibrated_by, figures, queries, answers, classes, plots, [*validated, leaks])


def _tables(
    answers: pd.DataFrame, shares: measuring.Shares, photos_of_whale: pd.Series[int]
) -> dict[str, pd.DataFrame]:
    """Return the tables behind the plots of answers decided at `auto`; without a threshold, those of ranks alone."""
    by_probability = {}
    if not answers["threshold"].isna().all():
        weights = validation.importance(answers["role"], *shares)
        by_probability = {"reliability": tables.reliability(answers, weights), "scores": tables.scores(answers)}
    return {
        "unknown_share": tables.unknown_share(answers, shares[1]),
        **by_probability,
        "ranks": tables.ranks(answers),
        "photos": tables.photos(answers, photos_of_whale),
    }


def _tidy(contents: Mapping[str, page.Content], histories: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables of all predictions, and the histories of all variants, by the names of their files."""
    rows: dict[str, list[pd.DataFrame]] = {table: [] for table in COLUMNS}
    for name, content in contents.items():
        for table, frame in content.tables.items():
            if table == "threshold" and content.answers is None:
                continue  # it is the curve of the prediction that lends its calibration
            kept = frame[frame["calibrated"] == 1] if table == "reliability" else frame
            rows[table].append(kept.assign(name=name))
    rows["history"] = [frame.assign(name=variant) for variant, frame in histories.items()]
    return {
        table: pd.concat([pd.DataFrame(columns=["name"]), *frames]).reindex(columns=["name", *COLUMNS[table]])
        for table, frames in rows.items()
    }


def _photos(queries: pd.DataFrame, nearest: Nearest) -> list[list[str]]:
    """Return, for each query and each of its five labels, the photo of that whale."""
    pairs = [(image, label) for image, *labels in queries[["Image", *LABELS]].to_numpy().tolist() for label in labels]
    photos = nearest(pairs)
    return [photos[start : start + len(LABELS)] for start in range(0, len(photos), len(LABELS))]


def _nearest(params: Params, name: str, inputs: Inputs, images: Iterable[Iterable[str]]) -> tuple[Nearest, Nearest]:
    """Return what finds photos for validation queries and for queries to come; `images` are those queries."""
    if name == PHASH:
        labelled = inputs.groups[inputs.groups["part"] == "train"].sort_values("Image")
        pairs = labelled.merge(labelled, on="group", suffixes=("", "_of"))
        pairs = pairs[pairs["Image"] != pairs["Image_of"]]
        leaks = inputs.leaks
        return (
            _first(pairs["Image_of"], pairs["Id"], pairs["Image"]),
            _first(leaks["query"], leaks["Id"], leaks["photo"]),
        )
    validated, queried = (validation.gallery(inputs.split, held_out=held_out) for held_out in (False, True))
    needed = set(queried["Image"]).union(*images)
    networks = features.load({network: network for network in params.predictions[name].networks}, needed)
    return lambda pairs: networks.nearest(pairs, validated), lambda pairs: networks.nearest(pairs, queried)


def _first(queries: pd.Series[str], whales: pd.Series[str], photos: pd.Series[str]) -> Nearest:
    """Return what maps a query and a whale to the first photo of their rows."""
    first: dict[tuple[str, str], str] = {}
    for query, whale, photo in zip(queries, whales, photos, strict=True):
        first.setdefault((query, whale), photo)
    return lambda pairs: [first.get(pair, "") for pair in pairs]
