"""Scores into probabilities, and the best threshold for `new_whale`: both from validation alone."""

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize_scalar

from whaleid.identify.metrics import mixed_mean
from whaleid.identify.ranking import leading
from whaleid.labels import NEW_WHALE, PLACES

THRESHOLDS: npt.NDArray[np.float64] = np.arange(201) / 200
"""0, 0.005, …, 1."""
LIMITS = (math.log(0.02), math.log(50))
"""Of the logarithm of the temperature: logits that say nothing, or everything, would have no best one."""


def fit_temperature(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    """Return the temperature at which softmax(logits / temperature) has the least mean log loss.

    `logits` is (Q, C), `truth` (Q,) the column of each query's class. One number for all classes keeps their
    order: temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017). It is rounded
    to four decimals, so that the value on file is the value that was used.
    """
    below = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)  # (Q, C), 0 at the largest
    true = below[np.arange(len(below)), truth]

    def loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        return float(np.mean(np.log(np.exp(below * inverse).sum(axis=1)) - true * inverse))

    found = minimize_scalar(loss, bounds=LIMITS, method="bounded", options={"xatol": 1e-6})
    return round(math.exp(found.x), 4)


def threshold_curve(
    probabilities: npt.NDArray[np.float32],
    whales: npt.NDArray[np.str_],
    truth: npt.NDArray[np.str_],
    unknown_share: float,
) -> pd.DataFrame:
    """Return MAP@5 at every threshold: `threshold,map5,map5_known,map5_unknown`.

    `probabilities` is (Q, W), `whales` (W,) their labels, without `new_whale`; `truth` (Q,) is a whale, or
    `new_whale` for an unknown query. `map5` is that of queries of which `unknown_share` are unknown. A kind
    without queries has no column, and the other has all the weight.
    """
    labels, values = leading(probabilities, whales)
    above = values > THRESHOLDS[:, None, None]  # (T, Q, K)
    unknown = truth == NEW_WHALE

    # the whale in column k has rank k + 1, and one more where `new_whale` comes before it
    gains = np.append(1 / np.arange(1, PLACES + 1), 0.0)
    columns = np.arange(values.shape[1])
    right = labels[~unknown] == truth[~unknown, None]  # (queries of known whales, K)
    known_ranks = (np.where(above[:, ~unknown], gains[columns], gains[columns + 1]) * right).sum(axis=2)
    unknown_ranks = gains[above[:, unknown].sum(axis=2)]  # as many whales are before it as are above

    curve = {"threshold": THRESHOLDS, "map5": mixed_mean(known_ranks, unknown_ranks, unknown_share)}
    for name, ranks in (("map5_known", known_ranks), ("map5_unknown", unknown_ranks)):
        if ranks.shape[1]:
            curve[name] = ranks.mean(axis=1)
    return pd.DataFrame(curve)


def best_threshold(curve: pd.DataFrame) -> float:
    """Return the threshold of the highest `map5`: the middle of the longest run of such thresholds.

    Of equally long runs it is the first. The middle is farthest from thresholds that do worse, so it is the choice
    that other photos upset least.
    """
    best = curve["map5"].to_numpy() > curve["map5"].max() - 1e-12  # equal but for the order of summation
    edges = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]]).astype(int)))
    starts, ends = edges[::2], edges[1::2] - 1
    longest = (ends - starts).argmax()
    return float(curve["threshold"].iloc[(starts[longest] + ends[longest]) // 2])
