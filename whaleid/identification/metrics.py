"""Metrics of open-set identification and of calibration, and their bootstrap intervals.

`counts` (B, Q) are how often each query counts: a row of ones for the metric itself, one row per bootstrap resample.
Metrics are then (B,), NaN where a resample has no queries to compute a metric on.
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
"""Number of equally wide bins of the calibration error."""
SIMULATIONS = 1000
"""Number of simulated sets of answers that `chance_calibration_error` averages over."""
FALSE_POSITIVE_RATES = {"fpr01": 0.01, "fpr05": 0.05}
"""False positive rates at which the true positive rate is measured, by the suffix of its name."""
SEPARATE = ("new_whale", "new_whale_train")
"""Roles that are measured separately, because their photos may show known whales that nobody recognised."""
RESAMPLES = 1000
"""Number of bootstrap resamples."""
PERCENTILES = (2.5, 97.5)
"""The ends of an interval, as percentiles of the resamples."""


def ranking_metrics(answers: pd.DataFrame, ranks: Ranks, counts: Floats, shares: Shares) -> dict[str, Floats]:
    """Compute all metrics that depend only on ranks, (B,) or (B, T) each, except those of kinds without queries.

    `answers` has one row per query, with columns `Image`, `whale` and `role`. `ranks` are as in `map5`.
    """
    kind = kinds(answers["role"])
    metrics = map5(ranks, kind, shares, counts)
    known, unknown = kind == "known", kind == "unknown"
    if known.any():
        metrics["top1"] = average(ranks[known] == 1, counts[:, known])
        metrics["top5"] = average(ranks[known] > 0, counts[:, known])
    # each photo labelled new_whale counts as a separate whale
    whales = answers["whale"].where(answers["whale"] != NEW_WHALE, answers["Image"]).to_numpy(dtype=np.str_)
    for name, rows in (("baks", known), ("baus", unknown)):
        if rows.any():
            metrics[name] = balanced_accuracy(ranks[rows] == 1, whales[rows], counts[:, rows])
    if {"baks", "baus"} <= metrics.keys():
        metrics["baks_baus"] = np.sqrt(metrics["baks"] * metrics["baus"])
    return metrics


def probability_metrics(answers: pd.DataFrame, counts: Floats, shares: Shares) -> dict[str, Floats]:
    """Compute all metrics of probabilities, (B,) each: detection of unknown queries, and calibration.

    `answers` has one row per query, with columns `role`, `truth`, `label1`, `probability1` and `uncalibrated`.
    """
    kind = kinds(answers["role"])
    known, unknown = kind == "known", kind == "unknown"
    probability, uncalibrated = (answers[name].to_numpy(dtype=np.float64) for name in ("probability1", "uncalibrated"))
    correct = (answers["label1"] == answers["truth"]).to_numpy()
    metrics: dict[str, Floats] = {}
    if known.any() and unknown.any():
        positive, negative = counts * known, counts * unknown
        metrics["auroc"] = area_under_curve(probability, positive, negative)
        for name, rate in FALSE_POSITIVE_RATES.items():
            metrics[f"tpr_at_{name}"] = true_positive_rate(probability, positive, negative, rate)
        metrics["oscr"] = area_under_curve(probability, positive, negative, correct)
    weights = query_weights(kind, shares, counts)
    metrics["ece"] = calibration_error(probability, correct, weights)
    metrics["ece_uncalibrated"] = calibration_error(uncalibrated, correct, weights)
    return metrics


def balanced_accuracy(correct: Bools, whales: npt.NDArray[np.str_], counts: Floats) -> Floats:
    """Compute the mean over whales of the accuracy on each whale's queries, (B,) or (B, T).

    It is called BAKS for known and BAUS for unknown whales (AnimalCLEF 2025). `correct` is (Q,) or (Q, T), `whales` is
    (Q,). All queries of a whale have the same count, since they are in one cluster: a whale drawn twice counts twice.
    """
    _, number, photos = np.unique(whales, return_inverse=True, return_counts=True)
    return average(correct, counts / photos[number])


def area_under_curve(scores: Floats, positive: Floats, negative: Floats, correct: Bools | None = None) -> Floats:
    """Compute the area under the ROC curve (B,), or under the open-set classification rate curve.

    AUROC is how often a positive query has a higher score than a negative one, where ties count half. With `correct`,
    a true positive also has to be correct, and the result is OSCR, the area under the curve of correct classification
    rate over false positive rate (Dhamija et al., "Reducing network agnostophobia", NeurIPS 2018).

    Args:
        scores: (Q,), higher for queries that are more likely positive.
        positive: (B, Q), counts of the positive queries, 0 for the others.
        negative: (B, Q), counts of the negative queries, 0 for the others.
        correct: (Q,), whether the best whale is the true one.
    """
    true, false = _by_score(scores, positive if correct is None else positive * correct), _by_score(scores, negative)
    true_at_score = np.cumsum(true, axis=1) - true / 2
    with np.errstate(invalid="ignore"):
        areas: Floats = (false * true_at_score).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
    return areas


def true_positive_rate(scores: Floats, positive: Floats, negative: Floats, rate: float) -> Floats:
    """Compute the true positive rate (B,) at the lowest score whose false positive rate is at most `rate`.

    Other arguments are as in `area_under_curve`.
    """
    true, false = _by_score(scores, positive), _by_score(scores, negative)
    accepted = np.cumsum(false, axis=1) <= rate * negative.sum(axis=1, keepdims=True) + 1e-9
    with np.errstate(invalid="ignore"):
        rates = (true * accepted).sum(axis=1) / positive.sum(axis=1)
    return np.where(negative.any(axis=1), rates, np.nan)


def calibration_error(probability: Floats, correct: Bools, weights: Floats) -> Floats:
    """Compute the expected calibration error (B,), over ten equally wide bins.

    It is sum_b |sum_(q in b) weight_q * (correct_q - probability_q)| over bins b (Naeini et al., "Obtaining well
    calibrated probabilities using Bayesian binning", AAAI 2015). `probability` and `correct` are (Q,); `weights` are
    (B, Q), with sum 1.
    """
    errors = weights @ ((correct - probability)[:, None] * np.eye(BINS)[bin_indices(probability)])  # (B, BINS)
    total: Floats = np.abs(errors).sum(axis=1)
    return total


def bin_indices(probability: Floats) -> npt.NDArray[np.int64]:
    """Return the bin (Q,) of each probability. A bin includes its upper bound; the first one also includes 0."""
    return np.maximum(np.ceil(probability * BINS).astype(np.int64) - 1, 0)


def chance_calibration_error(probability: Floats, weights: Floats) -> float:
    """Compute the calibration error that perfect calibration shows on average, by simulation.

    The simulated answers are correct with exactly their `probability` (Q,). The error is above 0 because the number of
    queries is finite. `weights` are (Q,), with sum 1.
    """
    correct = np.random.default_rng(0).random((SIMULATIONS, len(probability))) < probability
    errors = (weights * (correct - probability)) @ np.eye(BINS)[bin_indices(probability)]  # (SIMULATIONS, BINS)
    return float(np.abs(errors).sum(axis=1).mean())


def bootstrap_counts(cluster: npt.NDArray[np.int64], times: int = RESAMPLES) -> Floats:
    """Return (1 + times, Q): a row of ones, then how often each query is drawn in each bootstrap resample.

    Whole clusters are drawn with replacement (Efron, "Bootstrap methods: another look at the jackknife", 1979),
    because answers to photos of one whale are correlated: drawing single photos would make intervals too narrow.
    `cluster` (Q,) is as in `folds.clusters`.
    """
    _, number = np.unique(cluster, return_inverse=True)
    size = int(number.max()) + 1
    samples = np.random.default_rng(0).integers(size, size=(times, size))
    counts = np.bincount((samples + size * np.arange(times)[:, None]).ravel(), minlength=times * size)
    return np.vstack([np.ones(len(cluster)), counts.reshape(times, size)[:, number]])


def bootstrap(answers: pd.DataFrame, ranks: Ranks, shares: Shares) -> dict[str, Floats]:
    """Compute the metrics of ranks, and `map5_ROLE` for each role of `SEPARATE`, on bootstrap resamples.

    Arguments are as in `ranking_metrics`; `answers` also has a column `cluster`. Returns (1 + B,) or (1 + B, T) by
    metric: first the metric itself, then each resample.
    """
    rows = kinds(answers["role"]) != ""
    counts = bootstrap_counts(answers.loc[rows, "cluster"].to_numpy())
    metrics = ranking_metrics(answers[rows], ranks[rows], counts, shares)
    for role in SEPARATE:  # drawn separately, so that they do not change the resamples of the other queries
        rows = (answers["role"] == role).to_numpy()
        if rows.any():
            counts = bootstrap_counts(answers.loc[rows, "cluster"].to_numpy())
            metrics[f"map5_{role}"] = average(reciprocal_ranks(ranks[rows]), counts)
    return metrics


def with_intervals(metrics: Mapping[str, Floats]) -> dict[str, float]:
    """Compute the 95 % interval of each metric: `NAME`, `NAME_low` and `NAME_high`.

    `metrics` are as in `bootstrap`. Resamples in which a metric is NaN are excluded. An interval is extended to contain
    its metric, since resampling biases some metrics, such as ECE, upwards.
    """
    figures = {}
    for name, values in metrics.items():
        figures[name] = float(values[0])
        low, high = np.nanpercentile(values[1:], PERCENTILES)
        figures[f"{name}_low"] = float(np.fmin(low, values[0]))
        figures[f"{name}_high"] = float(np.fmax(high, values[0]))
    return figures


def _by_score(scores: Floats, counts: Floats) -> Floats:
    """Sum `counts` (B, Q) over the queries with equal scores: (B, S), for S distinct scores in descending order."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    summed: Floats = np.add.reduceat(counts[:, order], starts, axis=1)
    return summed
