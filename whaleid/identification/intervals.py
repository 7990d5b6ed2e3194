"""How far chance moves a figure: the bootstrap, by whale."""

import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

TIMES = 1000
"""Resamplings."""
ENDS = (2.5, 97.5)
"""Per cent of them below either end of an interval."""


def resamplings(cluster: npt.NDArray[np.int64], times: int = TIMES, seed: int = 0) -> npt.NDArray[np.float64]:
    """Return (1 + times, Q): a row of ones, then how often each query is drawn with its cluster.

    Clusters, as many as there are, are drawn with replacement (Efron, "Bootstrap methods: another look at the
    jackknife", 1979): photos of one whale are right and wrong together, and drawn one by one they would make a figure
    look surer than it is. `cluster` (Q,) holds the numbers of `parts.clusters`.
    """
    _, place = np.unique(cluster, return_inverse=True)
    several = int(place.max()) + 1
    drawn = np.random.default_rng(seed).integers(several, size=(times, several))
    often = np.bincount((drawn + several * np.arange(times)[:, None]).ravel(), minlength=times * several)
    return np.vstack([np.ones(len(cluster)), often.reshape(times, several)[:, place]])


def with_intervals(measured: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    """Return each figure, the first of its values (1 + B,), and its `_low` and `_high`, 95 % of the others between.

    Resamplings that lack what a figure is about (NaN) do not count. An interval holds its figure: that of an error that
    chance only adds to, as ECE, would else lie above it.
    """
    found = {}
    for name, values in measured.items():
        point = float(values[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of all-NaN: there is nothing but the figure
            low, high = np.nanpercentile(values[1:], ENDS)
        found[name] = point
        found[f"{name}_low"] = float(np.fmin(low, point))
        found[f"{name}_high"] = float(np.fmax(high, point))
    return found
