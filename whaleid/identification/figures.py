"""All figures of a prediction on validation: metrics with their intervals, the fitted threshold, and baselines.

`answers` are rows of `paths.VALIDATION`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from whaleid.core.labels import NEW_WHALE
from whaleid.identification import metrics, validation
from whaleid.identification.ranking import at_threshold
from whaleid.identification.validation import Shares


def decide(answers: pd.DataFrame, threshold: float | None, by_fold: bool) -> pd.DataFrame:
    """Return `answers` `at_threshold`: the threshold of each row's fold, one for all, or none.

    Without a threshold, every whale of a probability above 0 comes before `new_whale`.
    """
    if threshold is None:
        return at_threshold(answers, 0.0).assign(threshold=np.nan)
    return at_threshold(answers, answers["threshold"].to_numpy() if by_fold else threshold)


def threshold_free(
    answers: pd.DataFrame, by_duplicates: pd.DataFrame, threshold_auto: float | None, shares: Shares
) -> dict[str, float]:
    """Return the figures that no chosen threshold changes: of probabilities, of the fitted threshold, and baselines.

    `by_duplicates` are validation's queries answered by the labels of their duplicates; `threshold_auto` is None for a
    prediction without probabilities.
    """
    weights = validation.query_weights(answers["role"], shares)
    figures = {
        "baseline_new_whale": float(weights @ (answers["truth"] == NEW_WHALE).to_numpy()),
        "baseline_duplicates": _map5(at_threshold(by_duplicates, 0.0), shares),
    }
    if "centroid" in answers:
        figures["baseline_centroid"] = float(weights @ answers["centroid"])
    if threshold_auto is None:
        return figures
    weighted = validation.kinds(answers["role"]) != ""
    rows = answers[weighted]
    counts = metrics.bootstrap_counts(rows["cluster"].to_numpy())
    figures |= metrics.with_intervals(metrics.probability_metrics(rows, counts, shares))
    figures["ece_chance"] = metrics.chance_error(rows["probability1"].to_numpy(), weights[weighted])
    decided = decide(answers, threshold_auto, by_fold=True)
    figures["map5_auto"] = _map5(decided[(answers["role"] != "duplicate").to_numpy()], shares)
    return figures | threshold_range(answers, threshold_auto)


def threshold_range(answers: pd.DataFrame, threshold_auto: float) -> dict[str, float]:
    """Return the least and the greatest threshold that was fitted: without each fold, and on all of validation."""
    return {
        "threshold_auto_low": min(float(answers["threshold"].min()), threshold_auto),
        "threshold_auto_high": max(float(answers["threshold"].max()), threshold_auto),
    }


def at(
    threshold: float | None, fixed: Mapping[str, float], answers: pd.DataFrame | None, by_fold: bool
) -> dict[str, float]:
    """Return all figures of a prediction at a threshold: the `fixed` ones, of `threshold_free`, and the others.

    `answers` is None for a prediction that is not validated; with `by_fold`, each has the threshold of its own fold.
    """
    figures = dict(fixed) if threshold is None else {**fixed, "threshold": threshold}
    if answers is None:
        return figures
    shares = Shares(fixed["unknown_share"], fixed["duplicate_share"])
    decided = decide(answers, threshold, by_fold)
    figures |= measure(decided, shares)
    if threshold is not None:
        at_auto = _map5(decide(answers, threshold, by_fold=True), shares)
        figures["threshold_cost"] = round(at_auto - figures["map5"], 9) + 0.0  # 0 at `auto`, however sums are rounded
    return figures


def measure(decided: pd.DataFrame, shares: Shares) -> dict[str, float]:
    """Return the metrics of answers `at_threshold`, with their intervals."""
    return metrics.with_intervals(metrics.bootstrap(decided, decided["rank"].to_numpy(), shares))


def _map5(decided: pd.DataFrame, shares: Shares) -> float:
    return metrics.map5(decided["role"], decided["rank"].to_numpy(), shares)
