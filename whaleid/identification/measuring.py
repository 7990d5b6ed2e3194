"""What answers to validation are worth: every figure of `predict`, its interval, and what it is held against.

Answers are rows of `paths.validation`; shares are those of unknown whales and of duplicates among the queries to come.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE
from whaleid.identification import intervals, measures, validation
from whaleid.identification.answers import decided


def at_threshold(answers: pd.DataFrame, threshold: float | None, by_part: bool) -> pd.DataFrame:
    """Return answers to validation `decided` at the threshold, or at each row's own."""
    if threshold is None:  # what has any probability comes before `new_whale`
        return decided(answers, 0.0).assign(threshold=np.nan)
    return decided(answers, answers["threshold"].to_numpy() if by_part else threshold)


def measured(decisions: pd.DataFrame, cluster: npt.NDArray[np.int64], shares: tuple[float, float]) -> dict[str, float]:
    """Return all measures with their intervals; those of probabilities only where there is a threshold."""
    found: dict[str, float] = {}
    counted = validation.kinds(decisions["role"]) != ""
    rows = decisions[counted]
    drawn = intervals.resamplings(cluster[counted])
    found |= intervals.with_intervals(measures.answered(rows, drawn, *shares))
    for role in measures.APART:  # drawn apart, so that how many there are does not change how others are drawn
        apart = (decisions["role"] == role).to_numpy()
        if apart.any():
            found |= intervals.with_intervals(measures.apart(decisions[apart], intervals.resamplings(cluster[apart])))
    if rows["threshold"].notna().any():
        found |= intervals.with_intervals(measures.probable(rows, drawn, *shares))
        counts = validation.importance(rows["role"], *shares)
        found["ece_chance"] = measures.chance_error(rows["probability1"].to_numpy(), counts)
    return found


def cost(answers: pd.DataFrame, figures: Mapping[str, float], shares: tuple[float, float]) -> dict[str, float]:
    """Return how far `auto` differs over parts of validation, and the MAP@5 that the chosen threshold loses against it.

    `figures` hold both. `map5_auto` is without duplicates, each part at the threshold that was found on the others.
    """
    if "threshold" not in figures:
        return {}
    own = answers["threshold"]
    fresh = decided(answers, own.to_numpy())[(answers["role"] != "duplicate").to_numpy()]
    return {
        "threshold_auto_low": min(float(own.min()), figures["threshold_auto"]),
        "threshold_auto_high": max(float(own.max()), figures["threshold_auto"]),
        "map5_auto": _map5(fresh, shares),
        # nothing at `auto`, however sums were rounded
        "threshold_cost": round(_map5(decided(answers, own.to_numpy()), shares) - figures["map5"], 9) + 0.0,
    }


def baselines(answers: pd.DataFrame, evident: pd.DataFrame, shares: tuple[float, float]) -> dict[str, float]:
    """Return what MAP@5 is without any of this: `new_whale` for all; duplicates, else that; the nearest centroid.

    `evident` are the same queries, answered by the labels of their duplicates.
    """
    counts = validation.importance(answers["role"], *shares)
    found = {
        "baseline_new_whale": float(counts @ (answers["truth"] == NEW_WHALE).to_numpy()),
        "baseline_duplicates": _map5(decided(evident, 0.0), shares),
    }
    return found | ({"baseline_centroid": float(counts @ answers["centroid"])} if "centroid" in answers else {})


def _map5(decisions: pd.DataFrame, shares: tuple[float, float]) -> float:
    return float(measures.answered(decisions, np.ones((1, len(decisions))), *shares)["map5"][0])
