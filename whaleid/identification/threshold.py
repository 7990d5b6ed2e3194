"""MAP@5 at every threshold, and the best threshold."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE
from whaleid.identification.metrics import gains
from whaleid.identification.ranking import true_ranks

THRESHOLDS: npt.NDArray[np.float64] = np.arange(201) / 200
"""0, 0.005, …, 1."""
SMOOTHING = 0.44
"""Deviation of the Gaussian by which a curve of one query is smoothed; 0.04 of 1,300 queries."""


def threshold_curve(
    labels: npt.NDArray[np.str_],
    values: npt.NDArray[np.float64],
    truth: npt.NDArray[np.str_],
    sample_weight: npt.NDArray[np.float64],
) -> pd.DataFrame:
    """Return MAP@5 at every threshold: `threshold,map5,map5_known,map5_unknown`.

    `labels` and `values` (Q, K) are those of the best whales, in order; `truth` (Q,) is a whale, or `new_whale` for an
    unknown query; `sample_weight` (Q,), 1 in sum, is that of `map5`. A query of weight 0 counts in no column; a kind
    without queries has no column.
    """
    rows = sample_weight > 0
    gained = gains(true_ranks(labels[rows], values[rows], truth[rows], THRESHOLDS[None]))  # (Q, T)
    unknown = truth[rows] == NEW_WHALE
    curve = {"threshold": THRESHOLDS, "map5": sample_weight[rows] @ gained}
    for name, kind in (("map5_known", ~unknown), ("map5_unknown", unknown)):
        if kind.any():
            curve[name] = gained[kind].mean(axis=0)
    return pd.DataFrame(curve)


def smoothed(values: npt.NDArray[np.float64], queries: int) -> npt.NDArray[np.float64]:
    """Return a curve over `THRESHOLDS` averaged with a Gaussian, the wider the fewer `queries` it was measured on.

    The maximum of such a curve is known to within the cube root of the number of queries (Kim and Pollard, "Cube root
    asymptotics", *The Annals of Statistics*, 1990).
    """
    deviation = SMOOTHING / max(queries, 1) ** (1 / 3)
    weights = np.exp(-(((THRESHOLDS[:, None] - THRESHOLDS) / deviation) ** 2) / 2)
    averaged: npt.NDArray[np.float64] = weights @ values / weights.sum(axis=1)
    return averaged


def best_threshold(curve: pd.DataFrame, queries: int) -> float:
    """Return the threshold of the highest `map5` once `smoothed`: the middle of the longest run of such thresholds.

    A curve over some hundred `queries` jumps where one of them changes sides, and its highest point is mostly chance;
    where it is high all around, it is high for other queries too. Of equal runs it is the first.
    """
    values = smoothed(curve["map5"].to_numpy(), queries)
    best = values > values.max() - 1e-12  # equal but for the order of summation
    edges = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]]).astype(int)))
    starts, ends = edges[::2], edges[1::2] - 1
    longest = (ends - starts).argmax()
    return float(curve["threshold"].iloc[(starts[longest] + ends[longest]) // 2])
