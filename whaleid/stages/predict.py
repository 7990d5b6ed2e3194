"""Stage `predict`: five ranked names for every query, and the same measured on validation."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid import files, paths
from whaleid.catalog.submission import write_submission
from whaleid.identify import metrics, validation
from whaleid.identify.fusion import Fusion, from_figures, probabilities
from whaleid.identify.ranking import filled, rank
from whaleid.labels import NEW_WHALE, PLACES
from whaleid.record import Record
from whaleid.stages import features

if TYPE_CHECKING:
    from whaleid.params import Params

Evidence = Sequence[Sequence[str]]
"""The labels of each query's duplicates, closest first, or none."""
PHASH = "phash"
"""The variant without a network: the labels of duplicates, else `new_whale`."""


def run(params: Params, variant: str) -> Record:
    """Rank names for the queries and for validation at the threshold, write the former and measure both.

    `paths.FINAL` has learnt validation's photos: the ensemble lends it what it found there, and only the solution
    measures it.
    """
    catalog, split, leaks = (files.read_csv(path) for path in (paths.CATALOG, paths.SPLIT, paths.LEAKS))
    test = sorted(catalog.loc[catalog["part"] == "test", "Image"])
    fill = _commonest(catalog)
    settings: dict[str, str | float] = {"variant": variant}
    figures: dict[str, float] = {}
    inputs = [paths.LEAKS]
    classes: set[str] = set()
    decide = _by_duplicates
    if variant != PHASH:
        calibrated_by = paths.ENSEMBLE if variant == paths.FINAL else variant
        networks = features.load(params.networks_of(variant), [*split["Image"], *test])
        classes = networks.classes
        calibration = json.loads(paths.calibration(calibrated_by).read_text(encoding="utf-8"))
        fusion, automatic = from_figures(calibration), calibration["threshold_auto"]
        threshold = automatic if params.threshold == "auto" else params.threshold
        decide = partial(_by_scores, networks, fusion, threshold)
        settings |= {"threshold": params.threshold, "scores": " ".join(fusion.weights)}
        figures |= {"threshold": threshold, "threshold_auto": automatic}
        inputs += [*map(paths.features, networks.features), paths.calibration(calibrated_by)]

    if variant == paths.FINAL:
        settings["calibrated_by"] = calibrated_by
    else:
        asked = validation.queries(split, classes)
        evidence = validation.duplicate_evidence(asked, files.read_csv(paths.GROUPS))
        ranked = decide(asked["Image"].tolist(), evidence, validation.gallery(split, held_out=False))
        shares = params.split.unknown_share, validation.duplicate_share(leaks, catalog)
        figures |= validation.figures(asked, filled(ranked, fill), *shares)
        inputs.append(paths.GROUPS)
    leaked = _leaked(leaks)
    ranked = decide(test, [leaked.get(image, []) for image in test], validation.gallery(split, held_out=True))
    answers = dict(zip(test, filled(ranked, fill), strict=True))
    figures |= _solution_figures(files.read_csv(paths.SOLUTION), answers, leaked)
    write_submission(answers, paths.submission(variant))
    files.write_json(figures, paths.metrics(variant))
    print(_summary(settings, figures, len(test)))
    return Record(
        params=settings,
        metrics=figures,
        artifacts=[paths.submission(variant), paths.metrics(variant)],
        inputs=inputs,
        outputs=[paths.submission(variant)],
        dataset=paths.SPLIT,
    )


def _by_duplicates(images: Sequence[str], evidence: Evidence, photos: pd.DataFrame) -> list[list[str]]:
    """Return the labels of each query's duplicates, then `new_whale`."""
    return [[*labels, NEW_WHALE] for labels in evidence]


def _by_scores(
    networks: features.Networks,
    fusion: Fusion,
    threshold: float,
    images: Sequence[str],
    evidence: Evidence,
    photos: pd.DataFrame,
) -> list[list[str]]:
    """Return the ranking of `images`, compared with `photos`."""
    whales = np.unique(photos["Id"].to_numpy(dtype=np.str_))
    return [
        labels
        for table in networks.score_tables([*fusion.weights], images, evidence, photos)
        for labels in rank(probabilities(table, fusion)[:, :-1], whales, threshold).tolist()
    ]


def _leaked(leaks: pd.DataFrame) -> dict[str, list[str]]:
    """Return the labels of the duplicates of each query that has some, closest first."""
    labels: dict[str, list[str]] = {}
    for query, label in zip(leaks["query"], leaks["Id"], strict=True):
        labels.setdefault(query, []).append(label)
    return labels


def _commonest(catalog: pd.DataFrame) -> list[str]:
    """Return the five whales with most labelled photos, ties by label: they fill short rankings."""
    labels = catalog.loc[(catalog["part"] == "train") & (catalog["Id"] != NEW_WHALE), "Id"]
    photos = labels.value_counts()
    return sorted(photos.index, key=lambda whale: (-photos[whale], whale))[:PLACES]


def _solution_figures(
    solution: pd.DataFrame, answered: dict[str, list[str]], leaked: Collection[str]
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
    graded = [
        f"{figures[key]:.4f} on {where}"
        for key, where in (("map5", "validation"), ("solution_map5", "the solution"))
        if key in figures
    ]
    return f"predict {settings['variant']}: {queries:,} queries{at}{lent}" + (
        f"; MAP@5 {', '.join(graded)}" if graded else ""
    )
