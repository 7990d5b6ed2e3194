"""Stage `rank`: calibrate ensembles, and find the five most probable whales of every query for every prediction.

The rankings do not depend on the threshold: `predict` ranks `new_whale` among the whales.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.core import arrays, calibration_files, features, files, leftovers, paths
from whaleid.core.labels import NEW_WHALE, PHASH, TOP_K
from whaleid.core.log import logger
from whaleid.core.record import Record
from whaleid.identification import calibrated, decision, figures, validation
from whaleid.identification.folds import clusters
from whaleid.identification.map5 import Shares
from whaleid.identification.ranking import rank_by_duplicates
from whaleid.identification.scores import Scorer

if TYPE_CHECKING:
    from whaleid.config import Params


@dataclass(frozen=True)
class Queries:
    """The queries of the catalogue, and the baseline that answers validation queries with their duplicates."""

    images: list[str]
    """The queries, sorted."""
    duplicates: list[list[str]]
    """The labels of the duplicates of each of `images`, closest first."""
    gallery: pd.DataFrame
    """The labelled photos that queries are compared with, `Image,Id`."""
    fill: list[str]
    """The five whales with the most labelled photos, which complete short rankings; ties are ordered by label."""
    duplicate_answers: pd.DataFrame
    """Answers to the validation queries from the labels of their duplicates, with the columns of `paths.VALIDATION`."""
    shares: Shares
    """The expected mix of queries."""


def run(params: Params) -> dict[str, Record]:
    """Write the folder `paths.RANKINGS`, with one folder per prediction.

    Ensembles are calibrated here. Returns the record of each of their calibrations.
    """
    leftovers.remove_former_variants(params.variants, Path(params.backbone.weights))
    queries = _read(params.split.unknown_share)
    records = {}
    with files.replacing_folder(paths.RANKINGS) as folder:
        for name, prediction in params.predictions.items():
            (folder / name).mkdir()
            if prediction.calibrated_by is None and len(prediction.networks) > 1:
                records[name] = _calibrate(params, name, folder / name)
            elif prediction.calibrated_by is None and prediction.networks:
                for file in (paths.DECISION, paths.VALIDATION, paths.CURVE):
                    shutil.copyfile(paths.calibration(prediction.networks[0]) / file, folder / name / file)
        for name in params.predictions:
            _rank(params, name, queries, folder)
    logger.info(f"rank: {len(queries.images):,} queries by {', '.join(params.predictions)}")
    return records


def _calibrate(params: Params, name: str, folder: Path) -> Record:
    """Calibrate the ensemble `name`, and write to `folder` the same files as stage `calibrate` does for a variant."""
    networks = params.predictions[name].networks
    inputs, allocate = calibration_files.read(networks), partial(arrays.allocate, folder=folder)
    scores = {network: params.variants[network].scores for network in networks}
    fit = calibrated.calibrate(name, inputs, scores, params.split.unknown_share, allocate)
    logger.info(fit.summary)
    return calibration_files.write(fit, networks, folder, paths.ranking(name))


def _read(unknown_share: float) -> Queries:
    catalog, split, groups, leaks = map(files.read_csv, (paths.CATALOG, paths.SPLIT, paths.GROUPS, paths.LEAKS))
    images = sorted(catalog.loc[catalog["part"] == "test", "Image"])
    whales = catalog.loc[(catalog["part"] == "train") & (catalog["Id"] != NEW_WHALE), "Id"].value_counts()
    fill = whales.sort_index().sort_values(ascending=False, kind="stable").index[:TOP_K].tolist()
    rows = validation.queries(split, [])
    answers = rows.join(rank_by_duplicates(validation.duplicate_labels(rows, groups), fill))
    return Queries(
        images,
        validation.labels_by_image(images, leaks),
        validation.gallery(split, held_out=True),
        fill,
        answers.assign(cluster=clusters(rows, groups), uncalibrated=answers["probability1"]),
        Shares(unknown_share, validation.duplicate_share(leaks, catalog)),
    )


def _rank(params: Params, name: str, queries: Queries, folder: Path) -> None:
    """Write the rankings of a prediction, its answers to validation, and its threshold-free figures."""
    fixed: dict[str, float] = {"unknown_share": queries.shares.unknown, "duplicate_share": queries.shares.duplicate}
    answers = None
    if name == PHASH:
        rankings, answers = rank_by_duplicates(queries.duplicates, queries.fill), queries.duplicate_answers
        files.write_csv(answers, folder / name / paths.VALIDATION)
    else:
        path = folder / params.calibration_source(name) / paths.DECISION
        fitted = decision.from_json(path.read_bytes())
        fixed["threshold_auto"] = fitted.threshold_auto
        networks = features.load(params.variant_by_calibrated(name), [*queries.gallery["Image"], *queries.images])
        embeddings = {name: network.select(queries.images) for name, network in networks.items()}
        scorer = Scorer(networks, queries.gallery)
        rankings = fitted.answers(scorer, embeddings, queries.duplicates, queries.fill)
        if params.predictions[name].calibrated_by is None:
            answers = files.read_csv(folder / name / paths.VALIDATION)
    if answers is not None:
        fixed |= figures.threshold_free(answers, queries.duplicate_answers, fixed.get("threshold_auto"), queries.shares)
        if "map5_auto" in fixed:
            curve = files.read_csv(folder / name / paths.CURVE)
            fixed["oracle_gain"] = float(curve["map5"].max()) - fixed["map5_auto"]
    rankings.insert(0, "Image", queries.images)
    rankings.insert(1, "leaked", [int(bool(labels)) for labels in queries.duplicates])
    files.write_csv(rankings, folder / name / paths.QUERIES)
    files.write_json(fixed, folder / name / paths.THRESHOLD_FREE)
