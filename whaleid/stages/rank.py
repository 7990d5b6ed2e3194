"""Stage `rank`: the most probable whales of every query, by every prediction, before a threshold ranks `new_whale`."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid.core import files, paths
from whaleid.core.labels import NEW_WHALE, PHASH, PLACES
from whaleid.core.record import Record
from whaleid.identification import measuring, validation
from whaleid.identification.answers import by_duplicates, filled, wide
from whaleid.identification.decision import Decision, from_json
from whaleid.identification.parts import clusters
from whaleid.stages import calibrate, features

if TYPE_CHECKING:
    from whaleid.config import Params


@dataclass(frozen=True)
class Tables:
    """The pipeline's tables that say what the queries are, and what they are compared with."""

    catalog: pd.DataFrame
    split: pd.DataFrame
    groups: pd.DataFrame
    leaks: pd.DataFrame
    unknown_share: float

    @cached_property
    def shares(self) -> tuple[float, float]:
        """Of unknown whales among the queries to come that are no duplicates, and of duplicates among all."""
        return self.unknown_share, validation.duplicate_share(self.leaks, self.catalog)

    @cached_property
    def queries(self) -> list[str]:
        """The photos to identify, sorted."""
        return sorted(self.catalog.loc[self.catalog["part"] == "test", "Image"])

    @cached_property
    def evidence(self) -> list[list[str]]:
        """The labels of the duplicates of each of `queries`, closest first."""
        of = {query: labels.tolist() for query, labels in self.leaks.groupby("query", sort=False)["Id"]}
        return [of.get(image, []) for image in self.queries]

    @cached_property
    def commonest(self) -> list[str]:
        """The five whales with most labelled photos, ties by label: what short rankings are filled with."""
        labelled = self.catalog.loc[self.catalog["part"] == "train", "Id"]
        photos = labelled[labelled != NEW_WHALE].value_counts()
        return sorted(photos.index, key=lambda whale: (-photos[whale], whale))[:PLACES]

    @cached_property
    def gallery(self) -> pd.DataFrame:
        """The labelled photos that queries are compared with, `Image,Id`."""
        return validation.gallery(self.split, held_out=True)

    @cached_property
    def answers_by_duplicates(self) -> pd.DataFrame:
        """The queries of validation, answered by the labels of their duplicates."""
        queries = validation.queries(self.split, [])
        return queries.join(by_duplicates(validation.duplicate_evidence(queries, self.groups), self.commonest))


def run(params: Params) -> dict[str, Record]:
    """Write the folder `paths.RANKINGS`, with a folder for each prediction.

    Several networks that decide together are calibrated here: returned is the record of each such prediction.
    """
    _remove_former(params)
    catalog, split, groups, leaks = (
        files.read_csv(path) for path in (paths.CATALOG, paths.SPLIT, paths.GROUPS, paths.LEAKS)
    )
    tables = Tables(catalog, split, groups, leaks, params.split.unknown_share)
    records = {}
    with files.replacing_folder(paths.RANKINGS) as folder:
        for name, prediction in params.predictions.items():
            (folder / name).mkdir()
            if prediction.calibrated_by is None and len(prediction.networks) > 1:
                records[name] = calibrate.write(params, name, prediction.networks, folder / name, paths.ranking(name))
            elif prediction.calibrated_by is None and prediction.networks:
                for file in (paths.DECISION, paths.VALIDATION, paths.CURVE):
                    shutil.copyfile(paths.calibration(prediction.networks[0]) / file, folder / name / file)
        for name in params.predictions:
            _rank(params, name, tables, folder)
    print(f"rank: {len(tables.queries):,} queries by {', '.join(params.predictions)}")
    return records


def _remove_former(params: Params) -> None:
    """Remove what variants left that are no longer named: DVC keeps the outputs of stages that it no longer knows.

    They would be hashed with the folders that this and later stages depend on, so that no clone could match them.
    """
    for folder in (paths.FEATURES, paths.CALIBRATIONS, paths.CHECKPOINTS, paths.HISTORIES):
        for path in folder.glob("*"):  # none where there is no such folder
            if path.stem in params.variants or path.stem == paths.BACKBONE:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _rank(params: Params, name: str, tables: Tables, folder: Path) -> None:
    """Write the rankings by a prediction, its answers to validation, and the figures that no threshold changes."""
    figures: dict[str, float] = {"unknown_share": tables.shares[0], "duplicate_share": tables.shares[1]}
    answers = None
    if name == PHASH:
        rankings = by_duplicates(tables.evidence, tables.commonest)
        answers = tables.answers_by_duplicates.assign(uncalibrated=tables.answers_by_duplicates["probability1"])
    else:
        calibrated = folder / params.calibration_of(name) / paths.DECISION
        decision = from_json(json.loads(calibrated.read_text(encoding="utf-8")))
        figures["threshold_auto"] = decision.threshold
        rankings, recall = _by_networks(params, name, tables, decision)
        figures |= recall
        if params.predictions[name].calibrated_by is None:
            answers = files.read_csv(folder / name / paths.VALIDATION)
    if answers is not None:
        cluster = clusters(answers, tables.groups)
        figures |= measuring.threshold_free(
            answers, cluster, tables.answers_by_duplicates, figures.get("threshold_auto"), tables.shares
        )
        if "map5_auto" in figures:
            curve = files.read_csv(folder / name / paths.CURVE)
            figures["oracle_gain"] = float(curve["map5"].max()) - figures["map5_auto"]
        files.write_csv(answers.assign(cluster=cluster), folder / name / paths.VALIDATION)
    rankings.insert(0, "Image", tables.queries)
    rankings.insert(1, "leaked", [int(bool(labels)) for labels in tables.evidence])
    files.write_csv(rankings, folder / name / paths.QUERIES)
    files.write_json(figures, folder / name / paths.THRESHOLD_FREE)


def _by_networks(
    params: Params, name: str, tables: Tables, decision: Decision
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the columns of `wide` for each query, and `neighbour_recall` where not all photos are compared."""
    # a prediction that is calibrated by another one takes its weights network by network
    called = params.predictions[params.calibration_of(name)].networks
    variants = dict(zip(called, params.predictions[name].networks, strict=True))
    networks = features.load(variants, [*tables.gallery["Image"], *tables.queries])
    whales = np.unique(tables.gallery["Id"].to_numpy(dtype=np.str_))
    comparison = networks.among(tables.gallery, params.neighbours)
    best = [
        decision.best(scores.table, whales, scores.density)
        for scores in comparison.scores([*decision.fusion.weights], tables.queries, tables.evidence)
    ]
    blocks = [wide(block.labels, block.values) for block in best] or [by_duplicates([], [])]
    return filled(pd.concat(blocks, ignore_index=True), tables.commonest), comparison.recall(tables.queries)
