"""Metrics of open-set identification and of calibration, and bootstrap intervals of all metrics.

Where a function takes `counts` (B, Q), they say how often each query counts: a row of ones for the metric itself, a row
for each resampling of its interval. Metrics are then (B,), NaN where a row leaves nothing to measure.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE
from whaleid.identification.map5 import Shares, average, kinds, map5, query_weights, reciprocal_ranks
from whaleid.identification.ranking import Bools, Floats

Ranks = npt.NDArray[np.int64]
BINS = 10
"""Bins of the calibration error, equally wide."""
SIMULATIONS = 1000
"""Simulated sets of answers, over which `chance_calibration_error` is the mean."""
FALSE_POSITIVE_RATES = {"fpr01": 0.01, "fpr05": 0.05}
SEPARATE = ("new_whale", "new_whale_train")
"""Roles that are measured separately: their photos may be of known whales that nobody recognised."""
RESAMPLINGS = 1000
PERCENTILES = (2.5, 97.5)
"""The ends of an interval."""


def ranking_metrics(answers: pd.DataFrame, ranks: Ranks, counts: Floats, shares: Shares) -> dict[str, Floats]:
    """Return every metric of ranks: (B,) each for `ranks` (Q,); (B, T) each for `ranks` (Q, T) at T thresholds.

    `answers` has `Image`, `whale` and `role`, a row a query; `ranks` are those of the truth, 0 beyond five; `counts` is
    (B, Q). A kind without queries has no key.
    """
    kind = kinds(answers["role"])
    metrics = map5(ranks, kind, shares, counts)
    known, unknown = kind == "known", kind == "unknown"
    if known.any():
        metrics["top1"] = average(ranks[known] == 1, counts[:, known])
        metrics["top5"] = average(ranks[known] > 0, counts[:, known])
    # a photo of no named whale stands for a whale of its own
    whales = answers["whale"].where(answers["whale"] != NEW_WHALE, answers["Image"]).to_numpy(dtype=np.str_)
    for name, rows in (("baks", known), ("baus", unknown)):
        if rows.any():
            metrics[name] = balanced_accuracy(ranks[rows] == 1, whales[rows], counts[:, rows])
    if {"baks", "baus"} <= metrics.keys():
        metrics["baks_baus"] = np.sqrt(metrics["baks"] * metrics["baus"])
    return metrics


def probability_metrics(answers: pd.DataFrame, counts: Floats, shares: Shares) -> dict[str, Floats]:
    """Return every metric of probabilities, (B,) each: of telling known from unknown queries, and of calibration.

    `answers` has `role`, `truth`, `label1`, `probability1` and `uncalibrated`; `counts` is (B, Q).
    """
    kind = kinds(answers["role"])
    known, unknown = kind == "known", kind == "unknown"
    probability, uncalibrated = (answers[name].to_numpy(dtype=np.float64) for name in ("probability1", "uncalibrated"))
    right = (answers["label1"] == answers["truth"]).to_numpy()
    metrics: dict[str, Floats] = {}
    if known.any() and unknown.any():
        positive, negative = counts * known, counts * unknown
        metrics["auroc"] = area_under_curve(probability, positive, negative)
        for name, rate in FALSE_POSITIVE_RATES.items():
            metrics[f"tpr_at_{name}"] = true_positive_rate(probability, positive, negative, rate)
        metrics["oscr"] = area_under_curve(probability, positive, negative, right)
    weights = query_weights(kind, shares, counts)
    metrics["ece"] = calibration_error(probability, right, weights)
    metrics["ece_uncalibrated"] = calibration_error(uncalibrated, right, weights)
    return metrics


def balanced_accuracy(right: Bools, whales: npt.NDArray[np.str_], counts: Floats) -> Floats:
    """Return (B,) or (B, T) the mean over whales of the share of a whale's queries that is `right`, (Q,) or (Q, T).

    Over known whales it is BAKS, over unknown ones BAUS (AnimalCLEF 2025). `whales` is (Q,). A whale that is drawn
    twice counts twice: its queries have the same counts, as clusters have them.
    """
    _, number, photos = np.unique(whales, return_inverse=True, return_counts=True)
    return average(right, counts / photos[number])


def area_under_curve(scores: Floats, positive: Floats, negative: Floats, right: Bools | None = None) -> Floats:
    """Return (B,) the area under the rate of accepted `positive` queries by that of accepted `negative` ones.

    `scores` is (Q,), the higher the sooner accepted; `positive` and `negative` are counts (B, Q). The area is AUROC:
    how often a positive query has the higher score, ties counting half. With `right` (Q,), only positive queries that
    are right count as accepted: OSCR (Dhamija et al., "Reducing network agnostophobia", NeurIPS 2018), the area under
    the correct classification rate by the false positive rate.
    """
    hits, false = _by_score(scores, positive if right is None else positive * right), _by_score(scores, negative)
    before = np.cumsum(hits, axis=1) - hits / 2
    with np.errstate(invalid="ignore"):
        areas: Floats = (false * before).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
    return areas


def true_positive_rate(scores: Floats, positive: Floats, negative: Floats, rate: float) -> Floats:
    """Return (B,) the share of `positive` queries at the lowest score that accepts at most `rate` of the `negative`."""
    hits, false = _by_score(scores, positive), _by_score(scores, negative)
    allowed = np.cumsum(false, axis=1) <= rate * negative.sum(axis=1, keepdims=True) + 1e-9
    with np.errstate(invalid="ignore"):
        rates = (hits * allowed).sum(axis=1) / positive.sum(axis=1)
    return np.where(negative.any(axis=1), rates, np.nan)


def calibration_error(probability: Floats, right: Bools, weights: Floats) -> Floats:
    """Return (B,) the expected calibration error: how far `probability` (Q,) is from the share that is `right` (Q,).

    It is sum_b |sum_(q in b) weight_q * (right_q - probability_q)| over ten equally wide bins b, the first with 0;
    `weights` are (B, Q), 1 in sum (Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015).
    """
    errors = weights @ ((right - probability)[:, None] * np.eye(BINS)[bin_indices(probability)])  # (B, BINS)
    total: Floats = np.abs(errors).sum(axis=1)
    return total


def bin_indices(probability: Floats) -> npt.NDArray[np.int64]:
    """Return (Q,) the number of each query's bin of the calibration error: each ends with its upper bound."""
    return np.maximum(np.ceil(probability * BINS).astype(np.int64) - 1, 0)


def chance_calibration_error(probability: Floats, weights: Floats) -> float:
    """Return the mean calibration error of answers that are right exactly with their `probability` (Q,).

    No calibration can be expected to show less on so few queries; `weights` (Q,) are theirs, 1 in sum.
    """
    right = np.random.default_rng(0).random((SIMULATIONS, len(probability))) < probability
    errors = (weights * (right - probability)) @ np.eye(BINS)[bin_indices(probability)]  # (SIMULATIONS, BINS)
    return float(np.abs(errors).sum(axis=1).mean())


def bootstrap_counts(cluster: npt.NDArray[np.int64], times: int = RESAMPLINGS) -> Floats:
    """Return (1 + times, Q): a row of ones, then how often each query is drawn with its cluster.

    Clusters, as many as there are, are drawn with replacement (Efron, "Bootstrap methods: another look at the
    jackknife", 1979): photos of one whale are right and wrong together, and drawn one by one they would make an
    interval too narrow. `cluster` (Q,) holds the numbers of `folds.clusters`.
    """
    _, number = np.unique(cluster, return_inverse=True)
    size = int(number.max()) + 1
    drawn = np.random.default_rng(0).integers(size, size=(times, size))
    counts = np.bincount((drawn + size * np.arange(times)[:, None]).ravel(), minlength=times * size)
    return np.vstack([np.ones(len(cluster)), counts.reshape(times, size)[:, number]])


def bootstrap(answers: pd.DataFrame, ranks: Ranks, shares: Shares) -> dict[str, Floats]:
    """Return the metrics of ranks (Q,) or (Q, T) over resamplings by `cluster`: (1 + B,) or (1 + B, T) each.

    Arguments are those of `ranking_metrics`; the first row is the metric itself. Besides, `map5_ROLE` of each role of
    `SEPARATE` that `answers` has.
    """
    rows = kinds(answers["role"]) != ""
    counts = bootstrap_counts(answers.loc[rows, "cluster"].to_numpy())
    metrics = ranking_metrics(answers[rows], ranks[rows], counts, shares)
    for role in SEPARATE:  # drawn separately, so that their number does not change how others are drawn
        rows = (answers["role"] == role).to_numpy()
        if rows.any():
            counts = bootstrap_counts(answers.loc[rows, "cluster"].to_numpy())
            metrics[f"map5_{role}"] = average(reciprocal_ranks(ranks[rows]), counts)
    return metrics


def with_intervals(metrics: Mapping[str, Floats]) -> dict[str, float]:
    """Return each metric, the first of its values (1 + B,), with the ends of its 95 % interval: `_low` and `_high`.

    Resamplings in which a metric is NaN do not count. An interval contains its metric: that of an error to which chance
    only adds, such as ECE, would lie above it otherwise.
    """
    figures = {}
    for name, values in metrics.items():
        figures[name] = float(values[0])
        low, high = np.nanpercentile(values[1:], PERCENTILES)
        figures[f"{name}_low"] = float(np.fmin(low, values[0]))
        figures[f"{name}_high"] = float(np.fmax(high, values[0]))
    return figures


def _by_score(scores: Floats, counts: Floats) -> Floats:
    """Return (B, S): the count at each different score, the highest first."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    summed: Floats = np.add.reduceat(counts[:, order], starts, axis=1)
    return summed
