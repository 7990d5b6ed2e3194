"""Stage `report`: write an HTML page for every prediction, and the tables of its plots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from whaleid.core import features, files, paths
from whaleid.core.features import Features
from whaleid.core.log import logger
from whaleid.core.record import Record, Report
from whaleid.identification import validation
from whaleid.identification.map5 import Shares
from whaleid.identification.ranking import LABELS, at_threshold
from whaleid.identification.scores import nearest_photos
from whaleid.images.previews import read_previews
from whaleid.report import prediction, sheets, tables
from whaleid.report.names import SHEETS
from whaleid.report.prediction import Content

if TYPE_CHECKING:
    from whaleid.config import Params


class Inputs(NamedTuple):
    """The tables that all pages use, named as in `paths`."""

    catalog: pd.DataFrame
    split: pd.DataFrame
    groups: pd.DataFrame
    leaks: pd.DataFrame
    solution: pd.DataFrame


def run(params: Params) -> dict[str, Record]:
    """Write the folders `paths.PAGES` and `paths.TABLES`; return a record per prediction.

    Raises:
        InputProblems: photos on a page are missing or damaged.
    """
    inputs = Inputs(*map(files.read_csv, (paths.CATALOG, paths.SPLIT, paths.GROUPS, paths.LEAKS, paths.SOLUTION)))
    contents = {name: _content(params, name, inputs) for name in params.predictions}
    part = inputs.catalog.set_index("Image")["part"]
    on_page = {name: sheets.photos(content.sheets) for name, content in contents.items()}
    images = sorted(set().union(*on_page.values()))
    photos = read_previews({image: Path(params.data.root, part[image], image) for image in images})
    with files.replacing_folder(paths.PAGES) as pages:
        for name, content in contents.items():
            html = prediction.render(content, {image: photos[image] for image in on_page[name]})
            (pages / paths.page(name).name).write_text(html, encoding="utf-8", newline="\n")
    plots = {name: content.tables for name, content in contents.items() if content.answers is not None}
    histories = {name: files.read_csv(paths.history(name)) for name in params.variants}
    with files.replacing_folder(paths.TABLES) as folder:
        for name, table in tables.tidy(plots, histories).items():
            files.write_csv(table, folder / f"{name}.csv")
    logger.info(f"report: {', '.join(str(paths.page(name)) for name in contents)}")
    return {
        name: Record(artifacts=[paths.page(name)], report=Report(paths.page(name).name, params.decision_path(name)))
        for name in contents
    }


def _content(params: Params, name: str, inputs: Inputs) -> Content:
    """Return the content of the page of a prediction."""
    folder = paths.ranking(name)
    figures = json.loads((folder / paths.THRESHOLD_FREE).read_text(encoding="utf-8"))
    auto = figures.get("threshold_auto")
    networks = features.load(params.variant_by_calibrated(name), inputs.catalog["Image"])
    answers, plotted, page_sheets = None, {}, []
    if auto is not None:
        curve = files.read_csv(paths.ranking(params.calibration_source(name)) / paths.CURVE)
        plotted["threshold"] = tables.from_frame(curve)
    if (folder / paths.VALIDATION).exists():
        answers = at_threshold(files.read_csv(folder / paths.VALIDATION))
        gallery = validation.gallery(inputs.split, held_out=False)
        shares = Shares(figures["unknown_share"], figures["duplicate_share"])
        plotted |= tables.plot_tables(answers, shares, gallery["Id"].value_counts())
        for key, rows in tables.examples(answers).items():
            if auto is not None or len(rows):
                photos = _nearest(rows, networks, gallery, validation.duplicate_pairs(inputs.groups))
                page_sheets.append(prediction.sheet(*SHEETS[key], rows, photos))
    truth = inputs.solution.set_index("Image")["Id"]
    queries = files.read_csv(folder / paths.QUERIES)
    queries = queries.assign(truth=queries["Image"].map(truth).fillna(""), threshold=auto)
    leaked = queries[queries["leaked"] == 1]
    leaked = leaked.assign(whale=leaked["truth"])
    photos = _nearest(leaked, networks, validation.gallery(inputs.split, held_out=True), inputs.leaks)
    caption = f"{len(leaked):,} queries to identify duplicate a labelled photo."
    page_sheets.append(prediction.sheet("Leaks", caption, leaked, photos, folded=True))
    return Content(name, params.predictions[name].calibrated_by, figures, queries, answers, plotted, page_sheets)


def _nearest(
    queries: pd.DataFrame, networks: Mapping[str, Features], gallery: pd.DataFrame, duplicates: pd.DataFrame
) -> list[list[str]]:
    """Find, for each query and each of its five labels, the photo of that whale most similar to the query.

    Photos are from `gallery`. Without networks, they are the first match in `duplicates` (`query,photo,Id`). The name
    is empty if there is no such photo.
    """
    pairs = [(image, label) for image, *labels in queries[["Image", *LABELS]].to_numpy().tolist() for label in labels]
    if networks:
        embeddings = {name: network.select(image for image, _ in pairs) for name, network in networks.items()}
        photos_by_whale = {str(whale): rows.tolist() for whale, rows in gallery.groupby("Id")["Image"]}
        photos = nearest_photos(networks, embeddings, [label for _, label in pairs], photos_by_whale)
    else:
        first = duplicates.drop_duplicates(["query", "Id"]).set_index(["query", "Id"])["photo"].to_dict()
        photos = [first.get(pair, "") for pair in pairs]
    return [photos[start : start + len(LABELS)] for start in range(0, len(photos), len(LABELS))]
