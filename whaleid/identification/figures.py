"""The figures of a prediction: metrics on validation with their intervals, the fitted threshold, and baselines.

`answers` are tables with the columns of `paths.VALIDATION`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from whaleid.core.labels import NEW_WHALE
from whaleid.identification import metrics
from whaleid.identification.map5 import Shares, kinds, map5, query_weights
from whaleid.identification.ranking import at_threshold


def threshold_free(
    answers: pd.DataFrame, duplicate_answers: pd.DataFrame, threshold_auto: float | None, shares: Shares
) -> dict[str, float]:
    """Compute the figures that do not depend on the chosen threshold: probabilities, fitted threshold, baselines.

    `duplicate_answers` are answers to the same queries from the labels of their duplicates alone. `threshold_auto` is
    the fitted threshold, None for a prediction without probabilities.
    """
    kind = kinds(answers["role"])
    weights = query_weights(kind, shares)
    figures = {
        "baseline_new_whale": float(weights @ (answers["truth"] == NEW_WHALE).to_numpy()),
        "baseline_duplicates": map5_by_kind(at_threshold(duplicate_answers), shares)["map5"],
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
    """Return the lowest and the highest of the thresholds fitted without each fold and on all folds."""
    return {
        "threshold_auto_low": min(float(answers["threshold"].min()), threshold_auto),
        "threshold_auto_high": max(float(answers["threshold"].max()), threshold_auto),
    }


def evaluate(
    fixed: Mapping[str, float], answers: pd.DataFrame | None, threshold: float | None = None
) -> dict[str, float]:
    """Compute all figures of a prediction at a threshold, by name.

    Args:
        fixed: the figures of `threshold_free`, with `unknown_share` and `duplicate_share`; they are included.
        answers: None for a prediction that is not validated.
        threshold: in [0, 1], or None for `auto`: each answer is ranked at the threshold of its fold. A prediction
            without probabilities ignores it.
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
        # rounded, so that it is exactly 0 at `auto`
        figures["threshold_cost"] = round(at_auto - figures["map5"], 9) + 0.0
    return figures


def measure(answers: pd.DataFrame, shares: Shares) -> dict[str, float]:
    """Compute the ranking metrics, with their intervals, of answers from `at_threshold`."""
    return metrics.with_intervals(metrics.bootstrap(answers, answers["rank"].to_numpy(), shares))


def map5_by_kind(answers: pd.DataFrame, shares: Shares) -> dict[str, float]:
    """Compute MAP@5, overall and by kind of query, of answers from `at_threshold`; the keys are those of `map5`."""
    ranks = answers["rank"].to_numpy()
    return {name: float(mean) for name, mean in map5(ranks, kinds(answers["role"]), shares).items()}
