"""Stage `rank`: the most probable whales of every query, by every prediction, before a threshold ranks `new_whale`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
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
from whaleid.identification.decision import from_json
from whaleid.identification.parts import clusters
from whaleid.stages import calibrate, features

if TYPE_CHECKING:
    from whaleid.config import Params


@dataclass(frozen=True)
class Tables:
    """The pipeline's tables that say what is asked, and what queries are compared with."""

    catalog: pd.DataFrame
    split: pd.DataFrame
    groups: pd.DataFrame
    leaks: pd.DataFrame

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


def run(params: Params) -> dict[str, Record]:
    """Write the folder `paths.RANKINGS`, with a folder for each prediction.

    Several networks that decide together are calibrated here: returned is the record of each such prediction.
    """
    tables = Tables(*(files.read_csv(path) for path in (paths.CATALOG, paths.SPLIT, paths.GROUPS, paths.LEAKS)))
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


def _rank(params: Params, name: str, tables: Tables, folder: Path) -> None:
    """Write the rankings by a prediction, its answers to validation, and the figures that no threshold changes."""
    shares = params.split.unknown_share, validation.duplicate_share(tables.leaks, tables.catalog)
    figures: dict[str, float] = {"unknown_share": shares[0], "duplicate_share": shares[1]}
    asked = validation.queries(tables.split, [])
    evident = asked.join(by_duplicates(validation.duplicate_evidence(asked, tables.groups), tables.commonest))
    answers = None
    if name == PHASH:
        rankings = by_duplicates(tables.evidence, tables.commonest)
        answers = evident.assign(uncalibrated=evident["probability1"])
    else:
        decided_by = folder / params.calibration_of(name)
        decision = json.loads((decided_by / paths.DECISION).read_text(encoding="utf-8"))
        figures["threshold_auto"] = decision["threshold_auto"]
        rankings, recall = _by_networks(params, name, tables, decision)
        figures |= recall
        if params.predictions[name].calibrated_by is None:
            answers = files.read_csv(folder / name / paths.VALIDATION)
    if answers is not None:
        cluster = clusters(answers, tables.groups)
        figures |= measuring.standing(answers, cluster, evident, figures.get("threshold_auto"), shares)
        files.write_csv(answers.assign(cluster=cluster), folder / name / paths.VALIDATION)
    leaked = [int(bool(labels)) for labels in tables.evidence]
    rankings.insert(0, "Image", tables.queries)
    rankings.insert(1, "leaked", leaked)
    files.write_csv(rankings, folder / name / paths.QUERIES)
    files.write_json(figures, folder / name / paths.STANDING)


def _by_networks(
    params: Params, name: str, tables: Tables, found: Mapping[str, object]
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the columns of `wide` for each query, and `neighbour_recall` where not all photos are compared."""
    decision = from_json(found)
    photos = validation.gallery(tables.split, held_out=True)
    # a prediction that is calibrated by another one takes its weights network by network
    called = params.predictions[params.calibration_of(name)].networks
    networks = features.load(
        dict(zip(called, params.predictions[name].networks, strict=True)), [*photos["Image"], *tables.queries]
    )
    whales = np.unique(photos["Id"].to_numpy(dtype=np.str_))
    comparison = networks.among(photos, params.neighbours)
    best = [
        decision.best(scores.table, whales, scores.density)
        for scores in comparison.scores([*decision.fusion.weights], tables.queries, tables.evidence)
    ]
    blocks = [wide(block.labels, block.values) for block in best] or [by_duplicates([], [])]
    return filled(pd.concat(blocks, ignore_index=True), tables.commonest), comparison.recall(tables.queries)
