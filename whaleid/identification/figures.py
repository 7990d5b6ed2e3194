"""All figures of a prediction on validation: metrics with their intervals, the fitted threshold, and baselines.

`answers` are rows of `paths.VALIDATION`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from whaleid.core.labels import NEW_WHALE
from whaleid.identification import metrics
from whaleid.identification.map5 import Shares, kinds, map5, query_weights
from whaleid.identification.ranking import at_threshold


def threshold_free(
    answers: pd.DataFrame, by_duplicates: pd.DataFrame, threshold_auto: float | None, shares: Shares
) -> dict[str, float]:
    """Return the figures that no chosen threshold changes: of probabilities, of the fitted threshold, and baselines.

    `by_duplicates` are validation's queries answered by the labels of their duplicates; `threshold_auto` is None for a
    prediction without probabilities.
    """
    kind = kinds(answers["role"])
    weights = query_weights(kind, shares)
    figures = {
        "baseline_new_whale": float(weights @ (answers["truth"] == NEW_WHALE).to_numpy()),
        "baseline_duplicates": map5_by_kind(at_threshold(by_duplicates), shares)["map5"],
    }
    if "centroid" in answers:
        figures["baseline_centroid"] = float(weights @ answers["centroid"])
    if threshold_auto is None:
        return figures
    rows = answers[kind != ""]
    counts = metrics.bootstrap_counts(rows["cluster"].to_numpy())
    figures |= metrics.with_intervals(metrics.probability_metrics(rows, counts, shares))
    figures["ece_chance"] = metrics.chance_calibration_error(rows["probability1"].to_numpy(), weights[kind != ""])
    figures["map5_auto"] = map5_by_kind(at_threshold(answers), shares)["map5_no_duplicates"]
    return figures | threshold_range(answers, threshold_auto)


def threshold_range(answers: pd.DataFrame, threshold_auto: float) -> dict[str, float]:
    """Return the least and the greatest threshold that was fitted: without each fold, and on all of validation."""
    return {
        "threshold_auto_low": min(float(answers["threshold"].min()), threshold_auto),
        "threshold_auto_high": max(float(answers["threshold"].max()), threshold_auto),
    }


def evaluate(
    fixed: Mapping[str, float], answers: pd.DataFrame | None, threshold: float | None = None
) -> dict[str, float]:
    """Return all figures of a prediction: the `fixed` ones, of `threshold_free`, and those at a threshold.

    `threshold` is in [0, 1], or None for `auto`: then each answer has the threshold of its fold. A prediction without
    probabilities has no threshold. `answers` is None for a prediction that is not validated.
    """
    figures = dict(fixed)
    if "threshold_auto" in fixed:
        figures["threshold"] = fixed["threshold_auto"] if threshold is None else threshold
    else:
        threshold = None
    if answers is None:
        return figures
    shares = Shares(fixed["unknown_share"], fixed["duplicate_share"])
    figures |= measure(at_threshold(answers, threshold), shares)
    if "threshold" in figures:
        at_auto = map5_by_kind(at_threshold(answers), shares)["map5"]
        figures["threshold_cost"] = round(at_auto - figures["map5"], 9) + 0.0  # 0 at `auto`, however sums are rounded
    return figures


def measure(decided: pd.DataFrame, shares: Shares) -> dict[str, float]:
    """Return the metrics of answers `at_threshold`, with their intervals."""
    return metrics.with_intervals(metrics.bootstrap(decided, decided["rank"].to_numpy(), shares))


def map5_by_kind(decided: pd.DataFrame, shares: Shares) -> dict[str, float]:
    """Return MAP@5 of answers `at_threshold`: the keys of `map5.map5`."""
    ranks = decided["rank"].to_numpy()
    return {name: float(mean) for name, mean in map5(ranks, kinds(decided["role"]), shares).items()}
