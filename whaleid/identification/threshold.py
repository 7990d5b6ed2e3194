"""MAP@5 at every threshold, and the best threshold."""

import numpy as np
import pandas as pd

from whaleid.identification.map5 import Shares, map5
from whaleid.identification.ranking import Floats, Labels, true_ranks

THRESHOLDS: Floats = np.arange(201) / 200
"""0, 0.005, …, 1."""
SMOOTHING = 0.44
"""Standard deviation of the Gaussian that smooths a curve of one query; of 1,300 queries it is 0.04."""


def threshold_curve(labels: Labels, values: Floats, truth: Labels, kind: Labels, shares: Shares) -> pd.DataFrame:
    """Return MAP@5 without duplicates at every threshold: `threshold,map5,map5_known,map5_unknown`.

    `labels` and `values` (Q, K) are those of the best whales, in order; `truth` (Q,) is a whale, or `new_whale` for an
    unknown query; `kind` (Q,) is that of `map5.kinds`. A kind without queries has no column; without both kinds,
    `map5` is 0.
    """
    means = map5(true_ranks(labels, values, truth, THRESHOLDS[None]), kind, shares)
    columns = {"map5": "map5_no_duplicates", "map5_known": "map5_known", "map5_unknown": "map5_unknown"}
    curves = {"map5": np.zeros(len(THRESHOLDS))}
    curves |= {column: means[name] for column, name in columns.items() if name in means}
    return pd.DataFrame({"threshold": THRESHOLDS, **curves})


def smooth(values: Floats, queries: int) -> Floats:
    """Return a curve over `THRESHOLDS` averaged with a Gaussian, the wider the fewer `queries` it was measured on.

    The maximum of such a curve is known to within the cube root of the number of queries (Kim and Pollard, "Cube root
    asymptotics", *The Annals of Statistics*, 1990).
    """
    deviation = SMOOTHING / max(queries, 1) ** (1 / 3)
    weights = np.exp(-(((THRESHOLDS[:, None] - THRESHOLDS) / deviation) ** 2) / 2)
    averaged: Floats = weights @ values / weights.sum(axis=1)
    return averaged


def best_threshold(curve: pd.DataFrame, queries: int) -> float:
    """Return the threshold of the highest `map5` once `smooth`; of several, the middle one.

    A curve over some hundred `queries` jumps where one of them changes sides, and its highest point is mostly chance;
    where it is high all around, it is high for other queries too.
    """
    values = smooth(curve["map5"].to_numpy(), queries)
    best = np.flatnonzero(values > values.max() - 1e-12)  # equal but for the order of summation
    return float(curve["threshold"].iloc[best[(len(best) - 1) // 2]])
