"""MAP@5 as a function of the threshold, and the best threshold."""

import numpy as np
import pandas as pd

from whaleid.identification.map5 import Shares, map5
from whaleid.identification.ranking import Floats, Labels, true_ranks

THRESHOLDS: Floats = np.arange(201) / 200
"""The thresholds of a curve: 0, 0.005, …, 1."""
SMOOTHING = 0.44
"""Standard deviation of the smoothing Gaussian for one query. It shrinks with their number: 0.04 for 1,300 queries."""


def threshold_curve(labels: Labels, values: Floats, truth: Labels, kind: Labels, shares: Shares) -> pd.DataFrame:
    """Compute MAP@5 without duplicates at each of `THRESHOLDS`: `threshold,map5,map5_known,map5_unknown`.

    `labels`, `values` and `truth` are as in `true_ranks`; `kind` (Q,) is as in `kinds`. There is no column for a kind
    without queries. `map5` is 0 if there are neither known nor unknown queries.
    """
    means = map5(true_ranks(labels, values, truth, THRESHOLDS[None]), kind, shares)
    columns = {"map5": "map5_no_duplicates", "map5_known": "map5_known", "map5_unknown": "map5_unknown"}
    curves = {"map5": np.zeros(len(THRESHOLDS))}
    curves |= {column: means[name] for column, name in columns.items() if name in means}
    return pd.DataFrame({"threshold": THRESHOLDS, **curves})


def smooth(values: Floats, queries: int) -> Floats:
    """Smooth a curve over `THRESHOLDS` with a Gaussian, whose width depends on the number of `queries` measured.

    The width is proportional to the inverse cube root of their number, the rate at which the maximum of such a curve
    converges (Kim and Pollard, "Cube root asymptotics", *The Annals of Statistics*, 1990).
    """
    deviation = SMOOTHING / max(queries, 1) ** (1 / 3)
    weights = np.exp(-(((THRESHOLDS[:, None] - THRESHOLDS) / deviation) ** 2) / 2)
    averaged: Floats = weights @ values / weights.sum(axis=1)
    return averaged


def best_threshold(curve: pd.DataFrame, queries: int) -> float:
    """Return the threshold that maximises the smoothed `map5` of a `curve`; of several maxima, the middle one.

    A curve of a few hundred `queries` is not smooth, and the location of its maximum is largely chance. The smoothed
    maximum generalises better to other queries.
    """
    values = smooth(curve["map5"].to_numpy(), queries)
    best = np.flatnonzero(values > values.max() - 1e-12)  # differences are rounding errors of the sum
    return float(curve["threshold"].iloc[best[(len(best) - 1) // 2]])
