"""Stage `predict`: five ranked names for every query, and the same measured on validation."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid import files, paths
from whaleid.catalog.submission import write_submission
from whaleid.identify import metrics, validation
from whaleid.identify.ranking import combine, rank
from whaleid.identify.similarity import probabilities
from whaleid.labels import NEW_WHALE, PLACES
from whaleid.record import Record
from whaleid.stages import features

if TYPE_CHECKING:
    from whaleid.params import Params

PHASH = "phash"
"""The variant without a network: the labels of duplicates, else `new_whale`."""


def run(params: Params, variant: str) -> Record:
    """Rank names for the queries and for validation at the threshold, write the former and measure both."""
    catalog = files.read_csv(paths.CATALOG)
    split = files.read_csv(paths.SPLIT)
    test = sorted(catalog.loc[catalog["part"] == "test", "Image"])
    leaked = _leaked(files.read_csv(paths.LEAKS))
    inputs = [paths.LEAKS, paths.GROUPS]
    settings: dict[str, str | float | bool] = {"variant": variant}
    figures: dict[str, float] = {}
    if variant == PHASH:
        asked = validation.queries(split, classes=[])
        ranked = np.full((len(asked) + len(test), 1), NEW_WHALE)
    else:
        found = features.load(variant, [*split["Image"], *test])
        calibration = json.loads(paths.calibration(variant).read_text(encoding="utf-8"))
        automatic = calibration["threshold_auto"]
        threshold = automatic if params.threshold == "auto" else params.threshold
        asked = validation.queries(split, found.classes.tolist())
        ranked = _rank(found, [*asked["Image"], *test], calibration["temperature"], threshold)
        settings["threshold"] = params.threshold
        figures |= {"threshold": threshold, "threshold_auto": automatic}
        inputs += [paths.features(variant), paths.calibration(variant)]

    trusts_duplicates = variant == PHASH or params.variants[variant].leaks
    evidence: list[list[str]] = [[]] * len(ranked)
    if trusts_duplicates:
        evidence = validation.duplicate_evidence(asked, files.read_csv(paths.GROUPS))
        evidence += [leaked.get(image, []) for image in test]
    answers = combine(evidence, ranked.tolist(), _commonest(catalog))
    on_validation, on_test = answers[: len(asked)], dict(zip(test, answers[len(asked) :], strict=True))

    unknown_share, leaked_share = params.split.unknown_share, len(leaked) / len(test)
    figures |= validation.figures(asked, on_validation, unknown_share, leaked_share)
    figures |= _solution_figures(files.read_csv(paths.SOLUTION), on_test, leaked)
    write_submission(on_test, paths.submission(variant))
    files.write_json(figures, paths.metrics(variant))
    print(_summary(variant, figures, len(test)))
    return Record(
        params={**settings, "leaks": trusts_duplicates},
        metrics=figures,
        artifacts=[paths.submission(variant), paths.metrics(variant)],
        inputs=inputs,
        outputs=[paths.submission(variant)],
        dataset=paths.SPLIT,
    )


def _leaked(leaks: pd.DataFrame) -> dict[str, list[str]]:
    """Return the labels of the duplicates of each query that has some, closest first."""
    labels: dict[str, list[str]] = {}
    for query, label in zip(leaks["query"], leaks["Id"], strict=True):
        labels.setdefault(query, []).append(label)
    return labels


def _rank(
    found: features.Features, images: Sequence[str], temperature: float, threshold: float
) -> npt.NDArray[np.str_]:
    """Return the network's ranking (Q, 5) of `images`."""
    whales = found.classes != NEW_WHALE
    likely = probabilities(found.logits(images), temperature)[:, whales]
    return rank(likely, found.classes[whales], threshold)


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


def _summary(variant: str, figures: dict[str, float], queries: int) -> str:
    at = f" at threshold {figures['threshold']:g}" if "threshold" in figures else ""
    graded = f", {figures['solution_map5']:.4f} on the solution" if "solution_map5" in figures else ""
    return f"predict {variant}: {queries:,} queries{at}; MAP@5 {figures['map5']:.4f} on validation{graded}"
