"""Scores into probabilities, and the best threshold for `new_whale`: both from validation alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize

from whaleid.identify.fusion import Fusion
from whaleid.identify.ranking import leading
from whaleid.labels import NEW_WHALE, PLACES

THRESHOLDS: npt.NDArray[np.float64] = np.arange(201) / 200
"""0, 0.005, …, 1."""
START = 10.0
"""Of every weight: where one stays of which validation tells nothing, as of duplicates where it has none."""
LIMIT = 99.0
"""Of weights and bias: scores that are always right would have no best weight."""
RIDGE = 1e-6
"""How much the loss grows with the square of a weight's way from the start: far less than validation tells."""
BLOCK = 256
"""Queries at a time in double precision."""


def fit_fusion(
    names: Sequence[str],
    table: npt.NDArray[np.float32],
    truth: npt.NDArray[np.int64],
    importance: npt.NDArray[np.float64],
) -> Fusion:
    """Return the weights of the scores, and the bias of `new_whale`, that have the least log loss.

    `table` is (K, Q, W + 1), the scores named; `truth` (Q,) the column of each query's true candidate; `importance`
    (Q,) how much its loss counts, 1 in sum. The loss is convex, its gradient exact, the search the same every time
    (L-BFGS-B: Byrd et al., "A limited memory algorithm for bound constrained optimization", 1995). Weights are 0 or
    more. All are rounded to four decimals, so that the values on file are the values that were used.
    """
    start = np.append(np.full(len(names), START), 0.0)

    def loss(point: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        away = point - start
        total, slope = RIDGE * float(away @ away), 2 * RIDGE * away
        for first in range(0, len(truth), BLOCK):
            rows = slice(first, first + BLOCK)
            scores = table[:, rows].astype(np.float64)
            true, counts = truth[rows], importance[rows]
            queries = np.arange(len(true))
            logits = np.tensordot(point[:-1], scores, axes=1)
            logits[:, -1] += point[-1]
            logits -= logits.max(axis=1, keepdims=True)
            of_true = logits[queries, true]
            likely = np.exp(logits, out=logits)
            sums = likely.sum(axis=1)
            total += float(counts @ (np.log(sums) - of_true))
            likely *= (counts / sums)[:, None]
            likely[queries, true] -= counts  # how far each probability is from the truth, times what it counts
            slope[:-1] += np.tensordot(scores, likely, axes=2)
            slope[-1] += likely[:, -1].sum()
        return total, slope

    bounds = [(0.0, LIMIT)] * len(names) + [(-LIMIT, LIMIT)]
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-12, "gtol": 1e-8, "maxiter": 1000},
    )
    *weights, bias = [round(float(value), 4) for value in found.x]
    return Fusion(dict(zip(names, weights, strict=True)), bias)


def threshold_curve(
    probabilities: npt.NDArray[np.float32],
    whales: npt.NDArray[np.str_],
    truth: npt.NDArray[np.str_],
    importance: npt.NDArray[np.float64],
) -> pd.DataFrame:
    """Return MAP@5 at every threshold: `threshold,map5,map5_known,map5_unknown`.

    `probabilities` is (Q, W), `whales` (W,) their labels, without `new_whale`; `truth` (Q,) is a whale, or
    `new_whale` for an unknown query; `importance` (Q,) is how much each counts in `map5`, 1 in sum. A kind without
    queries has no column.
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

    mixed = known_ranks @ importance[~unknown] + unknown_ranks @ importance[unknown]
    curve = {"threshold": THRESHOLDS, "map5": mixed}
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
