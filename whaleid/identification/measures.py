"""How good answers are, each measure over many weightings of the queries at once.

Weights (B, Q) say how often each query counts: a row of ones for the figure itself, a row a resampling for its
interval. A measure takes them to (B,), NaN where a row leaves nothing to measure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE
from whaleid.identification import validation

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
BINS = 10
"""Of the calibration error, equally wide."""
SIMULATIONS = 1000
FALSE_RATES = {"fpr01": 0.01, "fpr05": 0.05}
APART = ("new_whale", "new_whale_train")
"""Roles that are measured apart: their photos may be of known whales that nobody recognised."""


def answered(
    answers: pd.DataFrame,
    weights: Floats,
    unknown_share: float,
    duplicate_share: float,
    ranks: npt.NDArray[np.int64] | None = None,
) -> dict[str, Floats]:
    """Return every measure that needs no probabilities, (B,) each.

    `answers` has `Image`, `whale`, `role` and `rank` (of the truth, from 1 to 5, 0 beyond), a row a query; `weights` is
    (B, Q). With `ranks` (Q, M) in place of `rank`, at M thresholds, measures are (B, M). Overall figures, `map5` and
    `map5_no_duplicates`, weigh the kinds of queries as they are expected to come: by `validation.importance`. A kind
    without queries has no key.
    """
    kinds = known, unknown, duplicate = _kinds(answers)
    nobody = np.zeros(len(answers), dtype=np.bool_)
    rank, shares = answers["rank"].to_numpy() if ranks is None else ranks, (unknown_share, duplicate_share)
    gained, first = _gains(rank), rank == 1
    figures: dict[str, Floats] = {}
    if (known | unknown | duplicate).any():
        figures["map5"] = expected(gained, weights, kinds, shares)
    for name, of in zip(("known", "unknown", "duplicates"), kinds, strict=True):
        if of.any():
            figures[f"map5_{name}"] = mean(gained, weights, of)
    if (known | unknown).any():
        figures["map5_no_duplicates"] = expected(gained, weights, (known, unknown, nobody), shares)
    if known.any():
        figures["top1"], figures["top5"] = mean(first, weights, known), mean(rank > 0, weights, known)
    # a photo of no named whale stands for a whale of its own
    whales = answers["whale"].where(answers["whale"] != NEW_WHALE, answers["Image"]).to_numpy(dtype=np.str_)
    for name, of in (("baks", known), ("baus", unknown)):
        if of.any():
            figures[name] = balanced_accuracy(first, whales, weights, of)
    if {"baks", "baus"} <= figures.keys():
        figures["baks_baus"] = np.sqrt(figures["baks"] * figures["baus"])
    return figures


def apart(answers: pd.DataFrame, weights: Floats, ranks: npt.NDArray[np.int64] | None = None) -> dict[str, Floats]:
    """Return `map5_ROLE` of each role of `APART` that `answers` has; arguments as of `answered`."""
    gained = _gains(answers["rank"].to_numpy() if ranks is None else ranks)
    roles = {role: (answers["role"] == role).to_numpy() for role in APART}
    return {f"map5_{role}": mean(gained, weights, of) for role, of in roles.items() if of.any()}


def probable(answers: pd.DataFrame, weights: Floats, unknown_share: float, duplicate_share: float) -> dict[str, Floats]:
    """Return every measure of probabilities, (B,) each: of telling known from unknown, and of calibration.

    Arguments are as of `answered`, with the columns `label1`, `probability1` and `uncalibrated`.
    """
    kinds = known, unknown, _ = _kinds(answers)
    said, before = (
        answers["probability1"].to_numpy(dtype=np.float64),
        answers["uncalibrated"].to_numpy(dtype=np.float64),
    )
    right = (answers["label1"] == answers["truth"]).to_numpy()
    found: dict[str, Floats] = {}
    if known.any() and unknown.any():
        positive, negative = weights * known, weights * unknown
        found["auroc"] = area(said, positive, negative)
        for name, rate in FALSE_RATES.items():
            found[f"tpr_at_{name}"] = accepted(said, positive, negative, rate)
        found["oscr"] = area(said, positive, negative, right)
    for name, of in (("ece", said), ("ece_uncalibrated", before)):
        found[name] = calibration_error(of, right, weights, kinds, (unknown_share, duplicate_share))
    return found


def mean(values: Floats | Bools, weights: Floats, of: Floats | Bools) -> Floats:
    """Return (B,) or (B, M), the weighed mean of `values` (Q,) or (Q, M) over some of the queries, `of` (Q,)."""
    counted = of.astype(np.float64)
    return _divided(weights @ (values.T * counted).T, weights @ counted)


def expected(values: Floats, weights: Floats, kinds: Sequence[Bools], shares: tuple[float, float]) -> Floats:
    """Return (B,) or (B, M), the mean of `values` (Q,) or (Q, M) where `kinds` come in their `shares`.

    `kinds` are which queries are known, unknown and duplicates, (Q,) each; as `validation.importance` weighs them.
    """
    known, unknown, duplicate = (mean(values, weights, of) for of in kinds)
    return _mixed(_mixed(known, unknown, shares[0]), duplicate, shares[1])


def balanced_accuracy(right: Bools, whales: npt.NDArray[np.str_], weights: Floats, of: Bools) -> Floats:
    """Return (B,) the mean over whales of the share of a whale's queries that is `right`, over some queries, `of` (Q,).

    Over known whales it is BAKS, over unknown ones BAUS (AnimalCLEF 2025). A whale that is drawn twice counts twice:
    its queries have the same weights, as clusters have them.
    """
    _, number = np.unique(whales, return_inverse=True)
    photos = np.bincount(number, weights=of)[number]
    return mean(right, weights, of / np.maximum(photos, 1))


def area(scores: Floats, positive: Floats, negative: Floats, right: Bools | None = None) -> Floats:
    """Return (B,) the area under the rate of accepted `positive` queries by that of accepted `negative` ones.

    `scores` is (Q,), the higher the sooner accepted; `positive` and `negative` are weights (B, Q). It is AUROC: how
    often a positive query has the higher score, ties counting half. With `right` (Q,), only positive queries that are
    right count as accepted: OSCR (Dhamija et al., "Reducing network agnostophobia", NeurIPS 2018), the area under the
    correct classification rate by the false positive rate.
    """
    hits, false = _by_score(scores, positive if right is None else positive * right), _by_score(scores, negative)
    before = np.cumsum(hits, axis=1) - hits / 2
    return _divided((false * before).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def accepted(scores: Floats, positive: Floats, negative: Floats, rate: float) -> Floats:
    """Return (B,) the share of `positive` queries at the lowest score that accepts at most `rate` of the `negative`."""
    hits, false = _by_score(scores, positive), _by_score(scores, negative)
    allowed = np.cumsum(false, axis=1) <= rate * negative.sum(axis=1, keepdims=True) + 1e-9
    return _divided((hits * allowed).sum(axis=1), np.where(negative.any(axis=1), positive.sum(axis=1), 0.0))


def calibration_error(
    said: Floats, right: Bools, weights: Floats, kinds: Sequence[Bools], shares: tuple[float, float]
) -> Floats:
    """Return (B,) the expected calibration error: how far what is `said` (Q,) is from how often it is `right` (Q,).

    Over ten equally wide bins, the first with 0, each as much as its queries weigh (Naeini et al., "Obtaining well
    calibrated probabilities using Bayesian binning", AAAI 2015). Other arguments are as of `expected`.
    """
    off: Floats = np.abs(expected((right - said)[:, None] * _bins(said), weights, kinds, shares)).sum(axis=1)
    return off


def chance_error(said: Floats, weights: Floats, seed: int = 0) -> float:
    """Return the mean calibration error of answers that are right exactly as often as is `said` (Q,).

    So much of it is chance: no calibration can be expected to show less over so few queries, weighed so (Q,), 1 in sum.
    """
    drawn = np.random.default_rng(seed).random((SIMULATIONS, len(said))) < said
    return float(np.abs((weights * (drawn - said)) @ _bins(said)).sum(axis=1).mean())


def _gains(rank: npt.NDArray[np.int64]) -> Floats:
    """Return what ranks give to MAP@5: 1 / rank, 0 where the rank is 0."""
    return np.divide(1.0, rank, out=np.zeros(rank.shape), where=rank > 0)


def _mixed(first: Floats, second: Floats, share: float) -> Floats:
    """Return means of which a `share` is the `second`, or either where the other is NaN."""
    both = (1 - share) * first + share * second
    return np.where(np.isnan(first), second, np.where(np.isnan(second), first, both))


def _kinds(answers: pd.DataFrame) -> tuple[Bools, Bools, Bools]:
    kind = validation.kinds(answers["role"])
    return kind == "known", kind == "unknown", kind == "duplicate"


def _bins(said: Floats) -> Floats:
    """Return (Q, BINS): 1 where a query is in the bin."""
    bins: Floats = np.eye(BINS)[np.clip(np.ceil(said * BINS).astype(int) - 1, 0, BINS - 1)]
    return bins


def _by_score(scores: Floats, weights: Floats) -> Floats:
    """Return (B, S): the weight at each different score, the highest first."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    summed: Floats = np.add.reduceat(weights[:, order], starts, axis=1)
    return summed


def _divided(sums: Floats, weights: Floats) -> Floats:
    """Return sums (B,) or (B, M) divided by weights (B,), NaN where there is no weight."""
    divided: Floats = np.full(sums.T.shape, np.nan)
    np.divide(sums.T, weights, out=divided, where=weights > 0)
    return divided.T
