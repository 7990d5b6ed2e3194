"""Stage `predict`: five ranked names for every query, and what such answers are worth on validation."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid.catalog.submission import write_submission
from whaleid.core import files, paths
from whaleid.core.labels import NEW_WHALE, PLACES
from whaleid.core.record import Record
from whaleid.identification import measuring, metrics, validation
from whaleid.identification.answers import LABELS, PROBABILITIES, wide
from whaleid.identification.decision import Decision, from_json
from whaleid.identification.parts import clusters
from whaleid.identification.ranking import filled, rank
from whaleid.stages import features, reporting

if TYPE_CHECKING:
    from whaleid.config import Params

Evidence = Sequence[Sequence[str]]
"""The labels of each query's duplicates, closest first, or none."""
PHASH = "phash"
"""The variant without a network: the labels of duplicates, else `new_whale`."""


@dataclass(frozen=True)
class Asked:
    """What is answered, from the pipeline's tables."""

    test: list[str]
    leaked: Mapping[str, Sequence[str]]
    """The labels of the duplicates of each query to come that has some, closest first."""
    validation: pd.DataFrame
    """The queries of validation, for a variant that has learnt no class."""
    duplicates: Evidence
    """Of `validation`."""
    compared: pd.DataFrame
    """The photos that validation is compared with, `Image,Id`."""
    every: pd.DataFrame
    """The photos that the queries to come are compared with, `Image,Id`."""
    fill: Sequence[str]
    """What short rankings are filled with."""

    @property
    def evidence(self) -> Evidence:
        """The labels of the duplicates of each of `test`."""
        return [self.leaked.get(image, []) for image in self.test]


@dataclass(frozen=True)
class Answered:
    """What a variant answers."""

    queries: pd.DataFrame
    """The columns of `answers.wide`, as submitted: a row each of `Asked.test`."""
    validation: pd.DataFrame | None
    """The rows of `paths.validation`; None where validation was learnt."""
    photos: tuple[reporting.Nearest, reporting.Nearest]
    """What finds a whale's photo for a query of validation, and for a query to come."""
    threshold: float | None = None
    automatic: float | None = None
    by_part: bool = False
    """Whether validation is answered at each row's own threshold: that is `auto`."""
    recall: Mapping[str, float] = field(default_factory=dict)
    """`neighbour_recall` of the queries, where not all photos are looked at."""


def run(params: Params, variant: str) -> Record:
    """Rank names for the queries at the threshold, measure the same on validation; write both, and a report.

    `paths.FINAL` has learnt validation's photos: the ensemble lends it what it found there, and only the solution
    measures it.
    """
    catalog, split, groups, leaks, solution = (
        files.read_csv(path) for path in (paths.CATALOG, paths.SPLIT, paths.GROUPS, paths.LEAKS, paths.SOLUTION)
    )
    asked = _asked(catalog, split, groups, leaks)
    calibrated_by = paths.ENSEMBLE if variant == paths.FINAL else variant
    settings: dict[str, str | float] = {"variant": variant}
    inputs = [paths.LEAKS, paths.GROUPS]
    if variant == PHASH:
        found = _by_duplicates(asked, groups, leaks)
    else:
        decision = from_json(json.loads(paths.calibration(calibrated_by).read_text(encoding="utf-8")))
        found = _by_scores(asked, params, variant, decision)
        scores = " ".join(decision.fusion.weights)
        settings |= {"threshold": params.threshold, "scores": scores, "neighbours": params.neighbours}
        inputs += [*map(paths.features, params.networks_of(variant)), paths.calibration(calibrated_by)]
    if variant == paths.FINAL:
        settings["calibrated_by"] = calibrated_by
    elif variant != PHASH:
        inputs.append(paths.validation(variant))

    figures = {**found.recall}
    if found.threshold is not None and found.automatic is not None:
        figures |= {"threshold": found.threshold, "threshold_auto": found.automatic}
    answers = None
    if found.validation is not None:
        shares = params.split.unknown_share, validation.duplicate_share(leaks, catalog)
        cluster = clusters(found.validation, groups)
        decisions = measuring.at_threshold(found.validation, found.threshold, found.by_part)
        figures = measuring.measured(decisions, cluster, shares) | figures
        evident = asked.validation.join(_evident(asked.duplicates, asked.fill))
        figures |= measuring.cost(found.validation, figures, shares)
        figures |= measuring.baselines(found.validation, evident, shares)
        curve = None if found.threshold is None else files.read_csv(paths.threshold_curve(variant))
        photos_of_whale = asked.compared["Id"].value_counts()
        answers = reporting.Answers(decisions, found.threshold, found.automatic, curve, *shares, photos_of_whale)
    truth = dict(zip(solution["Image"], solution["Id"], strict=True))
    queries = found.queries.assign(
        Image=asked.test,
        truth=[truth.get(image, "") for image in asked.test],
        leaked=np.array([image in asked.leaked for image in asked.test], dtype=bool),
    )
    submitted = dict(zip(asked.test, queries[LABELS].to_numpy().tolist(), strict=True))
    figures |= _solution_figures(solution, submitted, asked.leaked)
    write_submission(submitted, paths.submission(variant))
    files.write_json(figures, paths.metrics(variant))
    part = dict(zip(catalog["Image"], catalog["part"], strict=True))
    photos = reporting.Photos(Path(params.data.root), part, *found.photos)
    reporting.write(paths.report(variant), variant, figures, answers, queries, photos)
    print(_summary(settings, figures, len(asked.test)))
    return Record(
        params=settings,
        metrics=figures,
        artifacts=[paths.submission(variant), paths.metrics(variant), paths.report(variant)],
        inputs=inputs,
        outputs=[paths.submission(variant)],
        dataset=paths.SPLIT,
    )


def _asked(catalog: pd.DataFrame, split: pd.DataFrame, groups: pd.DataFrame, leaks: pd.DataFrame) -> Asked:
    leaked: dict[str, list[str]] = {}
    for query, label in zip(leaks["query"], leaks["Id"], strict=True):
        leaked.setdefault(query, []).append(label)
    queries = validation.queries(split, [])
    # the five whales with most labelled photos, ties by label
    photos = catalog.loc[(catalog["part"] == "train") & (catalog["Id"] != NEW_WHALE), "Id"].value_counts()
    return Asked(
        sorted(catalog.loc[catalog["part"] == "test", "Image"]),
        leaked,
        queries,
        validation.duplicate_evidence(queries, groups),
        validation.gallery(split, held_out=False),
        validation.gallery(split, held_out=True),
        sorted(photos.index, key=lambda whale: (-photos[whale], whale))[:PLACES],
    )


def _by_duplicates(asked: Asked, groups: pd.DataFrame, leaks: pd.DataFrame) -> Answered:
    """Answer the labels of each query's duplicates, then `new_whale`, then the commonest whales."""
    said = _evident(asked.duplicates, asked.fill)
    queries = _submitted(_evident(asked.evidence, asked.fill), 0.0, asked.fill)
    queries[PROBABILITIES] = queries[PROBABILITIES].mask(queries[LABELS].to_numpy() == NEW_WHALE)
    labelled = groups[groups["part"] == "train"].sort_values("Image")
    pairs = labelled.merge(labelled, on="group", suffixes=("", "_of"))
    pairs = pairs[pairs["Image"] != pairs["Image_of"]]
    return Answered(
        queries,
        asked.validation.join(said).assign(uncalibrated=said["probability1"]),
        (_first(pairs["Image_of"], pairs["Id"], pairs["Image"]), _first(leaks["query"], leaks["Id"], leaks["photo"])),
    )


def _by_scores(asked: Asked, params: Params, variant: str, decision: Decision) -> Answered:
    """Answer the whales that networks find most probable, and `new_whale` at the threshold."""
    threshold = decision.threshold if params.threshold == "auto" else params.threshold
    photos = [*asked.validation["Image"], *asked.every["Image"], *asked.test]
    networks = features.load(params.networks_of(variant), photos)
    whales = np.unique(asked.every["Id"].to_numpy(dtype=np.str_))
    among = networks.among(asked.every, params.neighbours)
    best = [
        decision.best(scores.table, whales, scores.density)
        for scores in among.scores([*decision.fusion.weights], asked.test, asked.evidence)
    ]
    blocks = [wide(each.labels, each.values) for each in best]
    said = pd.concat(blocks, ignore_index=True) if blocks else _evident([], asked.fill)
    return Answered(
        _submitted(said, threshold, asked.fill),
        None if variant == paths.FINAL else files.read_csv(paths.validation(variant)),
        (
            lambda pairs: networks.nearest(pairs, asked.compared),
            lambda pairs: networks.nearest(pairs, asked.every),
        ),
        threshold,
        decision.threshold,
        by_part=params.threshold == "auto",
        recall=among.recall(asked.test),
    )


def _evident(evidence: Evidence, fill: Sequence[str]) -> pd.DataFrame:
    """Return the columns of `wide`: the labels of duplicates, certain, then `fill`, of no probability.

    Labels behind `new_whale` have none either, so that it keeps its place among them.
    """
    labels, values = [], []
    for said in evidence:
        distinct = [*dict.fromkeys(said)]
        certain = distinct.index(NEW_WHALE) if NEW_WHALE in distinct else len(distinct)
        whales = list(dict.fromkeys([*distinct, *fill]))
        whales = [label for label in whales if label != NEW_WHALE][:PLACES]
        missing = [""] * (PLACES - len(whales))
        labels.append(whales + missing)
        values.append([float(place < certain) for place in range(PLACES)])
    shape = len(labels), PLACES
    return wide(np.array(labels, dtype=np.str_).reshape(shape), np.array(values).reshape(shape))


def _submitted(said: pd.DataFrame, threshold: float, fill: Sequence[str]) -> pd.DataFrame:
    """Return the columns of `wide` as they are submitted: with `new_whale` at its threshold, short rankings filled."""
    labels, values = rank(said[LABELS].to_numpy(dtype=np.str_), said[PROBABILITIES].to_numpy(), threshold)
    ranked = filled([[label for label in row if label] for row in labels.tolist()], fill)
    values[labels == ""] = 0.0
    rows = np.array([row + [""] * (PLACES - len(row)) for row in ranked], dtype=np.str_)
    return wide(rows.reshape(-1, PLACES), values)  # also where there are none


def _first(queries: pd.Series[str], whales: pd.Series[str], photos: pd.Series[str]) -> reporting.Nearest:
    """Return what finds, for pairs of a query and a whale, the first photo of their row, or an empty string."""
    found: dict[tuple[str, str], str] = {}
    for query, whale, photo in zip(queries, whales, photos, strict=True):
        found.setdefault((query, whale), photo)
    return lambda pairs: [found.get(pair, "") for pair in pairs]


def _solution_figures(
    solution: pd.DataFrame, answered: Mapping[str, Sequence[str]], leaked: Collection[str]
) -> dict[str, float]:
    """Grade the answers by the solution, where it has rows: all of them, and those that are no leaks."""
    fresh = solution[~solution["Image"].isin(leaked)]
    return {
        key: metrics.mean_average_precision([answered[image] for image in rows["Image"]], rows["Id"].tolist())
        for key, rows in (("solution_map5", solution), ("solution_map5_no_duplicates", fresh))
        if len(rows)
    }


def _summary(settings: Mapping[str, str | float], figures: Mapping[str, float], queries: int) -> str:
    at = f" at threshold {figures['threshold']:g}" if "threshold" in figures else ""
    lent = f", calibrated by {settings['calibrated_by']}, not validated" if "calibrated_by" in settings else ""
    graded = []
    if "map5" in figures:
        graded.append(f"{figures['map5']:.4f} ({figures['map5_low']:.4f} to {figures['map5_high']:.4f}) on validation")
    if "solution_map5" in figures:
        graded.append(f"{figures['solution_map5']:.4f} on the solution")
    return f"predict {settings['variant']}: {queries:,} queries{at}{lent}" + (
        f"; MAP@5 {', '.join(graded)}" if graded else ""
    )
