"""MAP@5 at every threshold, and the threshold to take."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE, PLACES

THRESHOLDS: npt.NDArray[np.float64] = np.arange(201) / 200
"""0, 0.005, …, 1."""
GAINS: npt.NDArray[np.float64] = np.append(1 / np.arange(1, PLACES + 1), 0.0)
"""By rank from 1; none beyond five."""
SMOOTH = 0.44
"""Deviation of the bell by which neighbouring thresholds are averaged, over one query; 0.04 over 1,300."""


def threshold_curve(
    labels: npt.NDArray[np.str_],
    values: npt.NDArray[np.float64],
    truth: npt.NDArray[np.str_],
    importance: npt.NDArray[np.float64],
) -> pd.DataFrame:
    """Return MAP@5 at every threshold: `threshold,map5,map5_known,map5_unknown`.

    `labels` and `values` (Q, K) are those of the best whales, in order; `truth` (Q,) is a whale, or `new_whale` for an
    unknown query; `importance` (Q,) is how much each counts in `map5`, 1 in sum; a query of 0 counts in no column. A
    kind without queries has no column.
    """
    counted = importance > 0
    labels, values, truth, importance = labels[counted], values[counted], truth[counted], importance[counted]
    unknown = truth == NEW_WHALE
    columns = np.arange(values.shape[1])
    # the whale in column k has rank k + 1, and one more once the threshold has reached it
    right = ~unknown[:, None] & (labels == truth[:, None])
    # of an unknown query the rank is one more than there are whales above: it falls where the threshold reaches one
    falls = np.broadcast_to(unknown[:, None], values.shape)
    reached = np.searchsorted(THRESHOLDS, values)  # the first threshold that a value is not above
    loses = GAINS[columns] - GAINS[columns + 1]

    def over_thresholds(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the weighed sum of what queries gain at each threshold."""
        gained = weights @ (right @ GAINS[columns]) + weights[unknown].sum() * GAINS[len(columns)]
        changes = (falls.astype(np.float64) - right) * loses * weights[:, None]
        steps = np.bincount(reached.ravel(), changes.ravel(), minlength=len(THRESHOLDS) + 1)
        total: npt.NDArray[np.float64] = gained + np.cumsum(steps[: len(THRESHOLDS)])
        return total

    curve = {"threshold": THRESHOLDS, "map5": over_thresholds(importance)}
    for name, of in (("map5_known", ~unknown), ("map5_unknown", unknown)):
        if of.any():
            curve[name] = over_thresholds(of / of.sum())
    return pd.DataFrame(curve)


def smoothed(values: npt.NDArray[np.float64], queries: int) -> npt.NDArray[np.float64]:
    """Return each value of a curve over `THRESHOLDS` averaged with those around it, the near ones most.

    The fewer queries the curve is of, the farther it is averaged: the place of such a maximum is known to within the
    cube root of their number (Kim and Pollard, "Cube root asymptotics", *The Annals of Statistics*, 1990).
    """
    width = SMOOTH / max(queries, 1) ** (1 / 3)
    bell = np.exp(-(((THRESHOLDS[:, None] - THRESHOLDS) / width) ** 2) / 2)
    averaged: npt.NDArray[np.float64] = bell @ values / bell.sum(axis=1)
    return averaged


def best_threshold(curve: pd.DataFrame, queries: int) -> float:
    """Return the threshold of the highest `map5` once `smoothed`: the middle of the longest run of such thresholds.

    A curve over some hundred `queries` jumps where one of them changes sides, and its highest point is mostly where
    chance put one; where it is high all around, it is high for other queries too. Of equal runs the first is taken.
    """
    values = smoothed(curve["map5"].to_numpy(), queries)
    best = values > values.max() - 1e-12  # equal but for the order of summation
    edges = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]]).astype(int)))
    starts, ends = edges[::2], edges[1::2] - 1
    longest = (ends - starts).argmax()
    return float(curve["threshold"].iloc[(starts[longest] + ends[longest]) // 2])
