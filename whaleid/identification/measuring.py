"""What answers to validation are worth: every figure of a prediction, its interval, and its baselines.

Answers are rows of `paths.VALIDATION`; `shares` are those of unknown whales among the queries to come that are no
duplicates, and of duplicates among all; `cluster` (Q,) holds the numbers of `parts.clusters`.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE
from whaleid.identification import intervals, measures, validation
from whaleid.identification.answers import decided

Shares = tuple[float, float]


def at_threshold(answers: pd.DataFrame, threshold: float | None, by_part: bool) -> pd.DataFrame:
    """Return answers to validation `decided` at the threshold, or at each row's own."""
    if threshold is None:  # what has any probability comes before `new_whale`
        return decided(answers, 0.0).assign(threshold=np.nan)
    return decided(answers, answers["threshold"].to_numpy() if by_part else threshold)


def measured(decisions: pd.DataFrame, cluster: npt.NDArray[np.int64], shares: Shares) -> dict[str, float]:
    """Return figures of answers `decided` at a threshold, with 95 % intervals: `KEY`, `KEY_low`, `KEY_high`."""
    counted = validation.kinds(decisions["role"]) != ""
    drawn = intervals.resamplings(cluster[counted])
    figures = intervals.with_intervals(measures.answered(decisions[counted], drawn, *shares))
    for role in measures.APART:  # drawn apart, so that their number does not change how others are drawn
        apart = (decisions["role"] == role).to_numpy()
        if apart.any():
            drawn = intervals.resamplings(cluster[apart])
            figures |= intervals.with_intervals(measures.apart(decisions[apart], drawn))
    return figures


def threshold_free(
    answers: pd.DataFrame,
    cluster: npt.NDArray[np.int64],
    evident: pd.DataFrame,
    threshold_auto: float | None,
    shares: Shares,
) -> dict[str, float]:
    """Return the figures that no chosen threshold changes: of probabilities, of the threshold found, and baselines.

    `evident` are validation's queries answered by the labels of their duplicates; `threshold_auto` is None for a
    prediction without probabilities.
    """
    figures = _baselines(answers, evident, shares)
    if threshold_auto is None:
        return figures
    counted = validation.kinds(answers["role"]) != ""
    rows = answers[counted]
    drawn = intervals.resamplings(cluster[counted])
    figures |= intervals.with_intervals(measures.probable(rows, drawn, *shares))
    weights = validation.importance(rows["role"], *shares)
    figures["ece_chance"] = measures.chance_error(rows["probability1"].to_numpy(), weights)
    own = answers["threshold"]
    fresh = decided(answers, own.to_numpy())[(answers["role"] != "duplicate").to_numpy()]
    return figures | {
        "threshold_auto_low": min(float(own.min()), threshold_auto),
        "threshold_auto_high": max(float(own.max()), threshold_auto),
        "map5_auto": _map5(fresh, shares),
    }


def figures_at(
    threshold: float | None, fixed: Mapping[str, float], answers: pd.DataFrame | None, by_part: bool
) -> dict[str, float]:
    """Return all figures of a prediction at a threshold: the `fixed` ones, of `threshold_free`, and those it changes.

    `answers` are None for a prediction that is not validated; with `by_part`, each has the threshold of its own row.
    """
    figures = dict(fixed) if threshold is None else {**fixed, "threshold": threshold}
    if answers is None:
        return figures
    shares = fixed["unknown_share"], fixed["duplicate_share"]
    decisions = at_threshold(answers, threshold, by_part)
    figures |= measured(decisions, answers["cluster"].to_numpy(), shares)
    if threshold is not None:
        figures["threshold_cost"] = threshold_cost(answers, figures, shares)
    return figures


def threshold_cost(answers: pd.DataFrame, figures: Mapping[str, float], shares: Shares) -> float:
    """Return the MAP@5 that the threshold of `figures` loses against `auto`, each row at the one of its part."""
    at_auto = _map5(decided(answers, answers["threshold"].to_numpy()), shares)
    return round(at_auto - figures["map5"], 9) + 0.0  # 0 at `auto`, however sums were rounded


def _baselines(answers: pd.DataFrame, evident: pd.DataFrame, shares: Shares) -> dict[str, float]:
    """Return MAP@5 of `new_whale` for all; of duplicates, else `new_whale`; of the nearest centroid."""
    weights = validation.importance(answers["role"], *shares)
    figures = {
        "baseline_new_whale": float(weights @ (answers["truth"] == NEW_WHALE).to_numpy()),
        "baseline_duplicates": _map5(decided(evident, 0.0), shares),
    }
    return figures | ({"baseline_centroid": float(weights @ answers["centroid"])} if "centroid" in answers else {})


def _map5(decisions: pd.DataFrame, shares: Shares) -> float:
    return float(measures.answered(decisions, np.ones((1, len(decisions))), *shares)["map5"][0])
