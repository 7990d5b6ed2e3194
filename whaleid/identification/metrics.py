"""How good ranked answers are: MAP@5 and the metrics of open-set identification, with bootstrap intervals.

Where a function takes `counts` (B, Q), they say how often each query counts: a row of ones for the metric itself, a row
for each resampling of its interval. Metrics are then (B,), NaN where a row leaves nothing to measure.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE, PLACES
from whaleid.identification import validation
from whaleid.identification.validation import Shares

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ranks = npt.NDArray[np.int64]
BINS = 10
"""Of the calibration error, equally wide."""
SIMULATIONS = 1000
FALSE_POSITIVE_RATES = {"fpr01": 0.01, "fpr05": 0.05}
SEPARATE = ("new_whale", "new_whale_train")
"""Roles that are measured separately: their photos may be of known whales that nobody recognised."""
RESAMPLINGS = 1000
PERCENTILES = (2.5, 97.5)
"""The ends of an interval."""


def gains(ranks: Ranks) -> Floats:
    """Return what ranks of the true label, from 1, add to MAP@5: 1 / rank; 0 for rank 0, beyond five."""
    return np.divide(1.0, ranks, out=np.zeros(ranks.shape), where=ranks > 0)


def reciprocal_ranks(ranked: Sequence[Sequence[str]], truth: Sequence[str]) -> Floats:
    """Return (Q,) the gains of the true labels among each query's first five distinct labels."""
    ranks = np.zeros(len(truth), dtype=np.int64)
    for query, (labels, true) in enumerate(zip(ranked, truth, strict=True)):
        distinct = list(dict.fromkeys(labels))[:PLACES]
        if true in distinct:
            ranks[query] = distinct.index(true) + 1
    return gains(ranks)


def mean_average_precision(ranked: Sequence[Sequence[str]], truth: Sequence[str]) -> float:
    """Return MAP@5 of ranked labels: the mean of `reciprocal_ranks`, since each query has one true label."""
    return float(reciprocal_ranks(ranked, truth).mean())


def map5(roles: pd.Series[str], ranks: Ranks, shares: Shares) -> float:
    """Return MAP@5 of queries of these `roles` (Q,) with these `ranks` (Q,), each kind weighing its share."""
    return float(validation.query_weights(roles, shares) @ gains(ranks))


def ranking_metrics(answers: pd.DataFrame, ranks: Ranks, counts: Floats, shares: Shares) -> dict[str, Floats]:
    """Return every metric of ranks, (B,) each; from `ranks` (Q, T), at T thresholds, (B, T) each.

    `answers` has `Image`, `whale` and `role`, a row a query; `ranks` are those of the truth, 0 beyond five; `counts` is
    (B, Q). In `map5` and `map5_no_duplicates` each kind of queries weighs its share. A kind without queries has no key.
    """
    kinds = known, unknown, duplicate = _kinds(answers)
    gained, first = gains(ranks), ranks == 1
    metrics: dict[str, Floats] = {}
    if (known | unknown | duplicate).any():
        metrics["map5"] = expected(gained, counts, kinds, shares)
    for name, kind in zip(("known", "unknown", "duplicates"), kinds, strict=True):
        if kind.any():
            metrics[f"map5_{name}"] = mean(gained, counts, kind)
    if (known | unknown).any():
        none = np.zeros(len(answers), dtype=np.bool_)
        metrics["map5_no_duplicates"] = expected(gained, counts, (known, unknown, none), shares)
    if known.any():
        metrics["top1"], metrics["top5"] = mean(first, counts, known), mean(ranks > 0, counts, known)
    # a photo of no named whale stands for a whale of its own
    whales = answers["whale"].where(answers["whale"] != NEW_WHALE, answers["Image"]).to_numpy(dtype=np.str_)
    for name, kind in (("baks", known), ("baus", unknown)):
        if kind.any():
            metrics[name] = balanced_accuracy(first, whales, counts, kind)
    if {"baks", "baus"} <= metrics.keys():
        metrics["baks_baus"] = np.sqrt(metrics["baks"] * metrics["baus"])
    return metrics


def probability_metrics(answers: pd.DataFrame, counts: Floats, shares: Shares) -> dict[str, Floats]:
    """Return every metric of probabilities, (B,) each: of telling known from unknown queries, and of calibration.

    `answers` has `role`, `truth`, `label1`, `probability1` and `uncalibrated`; `counts` is (B, Q).
    """
    kinds = known, unknown, _ = _kinds(answers)
    probability, before = (answers[column].to_numpy(dtype=np.float64) for column in ("probability1", "uncalibrated"))
    right = (answers["label1"] == answers["truth"]).to_numpy()
    metrics: dict[str, Floats] = {}
    if known.any() and unknown.any():
        positive, negative = counts * known, counts * unknown
        metrics["auroc"] = area(probability, positive, negative)
        for name, rate in FALSE_POSITIVE_RATES.items():
            metrics[f"tpr_at_{name}"] = true_positive_rate(probability, positive, negative, rate)
        metrics["oscr"] = area(probability, positive, negative, right)
    for name, values in (("ece", probability), ("ece_uncalibrated", before)):
        metrics[name] = calibration_error(values, right, counts, kinds, shares)
    return metrics


def mean(values: Floats | Bools, counts: Floats, rows: Floats | Bools) -> Floats:
    """Return (B,) or (B, T), the mean of `values` (Q,) or (Q, T) over some of the queries, `rows` (Q,)."""
    weights = rows.astype(np.float64)
    return _divide(counts @ (values.T * weights).T, counts @ weights)


def expected(values: Floats, counts: Floats, kinds: Sequence[Bools], shares: Shares) -> Floats:
    """Return (B,) or (B, T), the mean of `values` (Q,) or (Q, T) where each kind of queries weighs its share.

    `kinds` are the queries that are known, unknown and duplicates, (Q,) each.
    """
    known, unknown, duplicate = (mean(values, counts, kind) for kind in kinds)
    return validation.mix(known, unknown, duplicate, shares)


def balanced_accuracy(right: Bools, whales: npt.NDArray[np.str_], counts: Floats, rows: Bools) -> Floats:
    """Return (B,) the mean over whales of the share of a whale's queries that is `right`, over `rows` (Q,).

    Over known whales it is BAKS, over unknown ones BAUS (AnimalCLEF 2025). A whale that is drawn twice counts twice:
    its queries have the same counts, as clusters have them.
    """
    _, number = np.unique(whales, return_inverse=True)
    photos = np.bincount(number, weights=rows)[number]
    return mean(right, counts, rows / np.maximum(photos, 1))


def area(scores: Floats, positive: Floats, negative: Floats, right: Bools | None = None) -> Floats:
    """Return (B,) the area under the rate of accepted `positive` queries by that of accepted `negative` ones.

    `scores` is (Q,), the higher the sooner accepted; `positive` and `negative` are counts (B, Q). The area is AUROC:
    how often a positive query has the higher score, ties counting half. With `right` (Q,), only positive queries that
    are right count as accepted: OSCR (Dhamija et al., "Reducing network agnostophobia", NeurIPS 2018), the area under
    the correct classification rate by the false positive rate.
    """
    hits, false = _by_score(scores, positive if right is None else positive * right), _by_score(scores, negative)
    before = np.cumsum(hits, axis=1) - hits / 2
    return _divide((false * before).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def true_positive_rate(scores: Floats, positive: Floats, negative: Floats, rate: float) -> Floats:
    """Return (B,) the share of `positive` queries at the lowest score that accepts at most `rate` of the `negative`."""
    hits, false = _by_score(scores, positive), _by_score(scores, negative)
    allowed = np.cumsum(false, axis=1) <= rate * negative.sum(axis=1, keepdims=True) + 1e-9
    return _divide((hits * allowed).sum(axis=1), np.where(negative.any(axis=1), positive.sum(axis=1), 0.0))


def calibration_error(
    probability: Floats, right: Bools, counts: Floats, kinds: Sequence[Bools], shares: Shares
) -> Floats:
    """Return (B,) the expected calibration error: how far `probability` (Q,) is from the share that is `right` (Q,).

    Over ten equally wide bins, the first with 0, each weighing as much as its queries (Naeini et al., "Obtaining well
    calibrated probabilities using Bayesian binning", AAAI 2015). Other arguments are those of `expected`.
    """
    errors = expected((right - probability)[:, None] * np.eye(BINS)[bins(probability)], counts, kinds, shares)
    total: Floats = np.abs(errors).sum(axis=1)
    return total


def bins(probability: Floats) -> npt.NDArray[np.int64]:
    """Return (Q,) the number of each query's bin of the calibration error: each ends with its upper bound."""
    return np.clip(np.ceil(probability * BINS).astype(np.int64) - 1, 0, BINS - 1)


def chance_error(probability: Floats, weights: Floats, seed: int = 0) -> float:
    """Return the mean calibration error of answers that are right exactly with their `probability` (Q,).

    No calibration can be expected to show less on so few queries; `weights` (Q,) are theirs, 1 in sum.
    """
    right = np.random.default_rng(seed).random((SIMULATIONS, len(probability))) < probability
    return float(np.abs((weights * (right - probability)) @ np.eye(BINS)[bins(probability)]).sum(axis=1).mean())


def bootstrap_counts(cluster: npt.NDArray[np.int64], times: int = RESAMPLINGS, seed: int = 0) -> Floats:
    """Return (1 + times, Q): a row of ones, then how often each query is drawn with its cluster.

    Clusters, as many as there are, are drawn with replacement (Efron, "Bootstrap methods: another look at the
    jackknife", 1979): photos of one whale are right and wrong together, and drawn one by one they would make an
    interval too narrow. `cluster` (Q,) holds the numbers of `folds.clusters`.
    """
    _, number = np.unique(cluster, return_inverse=True)
    size = int(number.max()) + 1
    drawn = np.random.default_rng(seed).integers(size, size=(times, size))
    counts = np.bincount((drawn + size * np.arange(times)[:, None]).ravel(), minlength=times * size)
    return np.vstack([np.ones(len(cluster)), counts.reshape(times, size)[:, number]])


def bootstrap(answers: pd.DataFrame, ranks: Ranks, shares: Shares) -> dict[str, Floats]:
    """Return the metrics of ranks (Q,) or (Q, T) over resamplings by `cluster`: (1 + B,) or (1 + B, T) each.

    Arguments are those of `ranking_metrics`; the first row is the metric itself. Besides, `map5_ROLE` of each role of
    `SEPARATE` that `answers` has.
    """
    rows = validation.kinds(answers["role"]) != ""
    counts = bootstrap_counts(answers.loc[rows, "cluster"].to_numpy())
    metrics = ranking_metrics(answers[rows], ranks[rows], counts, shares)
    for role in SEPARATE:  # drawn separately, so that their number does not change how others are drawn
        rows = (answers["role"] == role).to_numpy()
        if rows.any():
            counts = bootstrap_counts(answers.loc[rows, "cluster"].to_numpy())
            metrics[f"map5_{role}"] = mean(gains(ranks[rows]), counts, rows[rows])
    return metrics


def with_intervals(metrics: Mapping[str, Floats]) -> dict[str, float]:
    """Return each metric, the first of its values (1 + B,), with the ends of its 95 % interval: `_low` and `_high`.

    Resamplings in which a metric is NaN do not count. An interval contains its metric: that of an error to which chance
    only adds, such as ECE, would lie above it otherwise.
    """
    figures = {}
    for name, values in metrics.items():
        figures[name] = float(values[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of all-NaN: then the metric is the interval
            low, high = np.nanpercentile(values[1:], PERCENTILES)
        figures[f"{name}_low"] = float(np.fmin(low, values[0]))
        figures[f"{name}_high"] = float(np.fmax(high, values[0]))
    return figures


def _kinds(answers: pd.DataFrame) -> tuple[Bools, Bools, Bools]:
    kind = validation.kinds(answers["role"])
    return kind == "known", kind == "unknown", kind == "duplicate"


def _by_score(scores: Floats, counts: Floats) -> Floats:
    """Return (B, S): the count at each different score, the highest first."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    summed: Floats = np.add.reduceat(counts[:, order], starts, axis=1)
    return summed


def _divide(sums: Floats, weights: Floats) -> Floats:
    """Return sums (B,) or (B, T) divided by weights (B,), NaN where there is no weight."""
    divided: Floats = np.full(sums.T.shape, np.nan)
    np.divide(sums.T, weights, out=divided, where=weights > 0)
    return divided.T
