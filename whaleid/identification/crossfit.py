"""A decision fitted on all of validation, and answers to each fold of validation by a decision fitted on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.identification import calibration, fusion
from whaleid.identification.calibration import Calibration
from whaleid.identification.decision import Decision
from whaleid.identification.fusion import Fusion, TopWhales
from whaleid.identification.map5 import Shares, kinds, query_weights
from whaleid.identification.ranking import Bools, Floats, Labels, to_table
from whaleid.identification.threshold import best_threshold, threshold_curve


@dataclass(frozen=True)
class ScoredQueries:
    """The queries of validation and the scores of every candidate."""

    queries: pd.DataFrame
    """`Image,whale,role,truth,fold,cluster`, a row a query."""
    whales: Labels
    """(W,) the candidates, sorted."""
    scores: Mapping[str, npt.NDArray[np.float32]]
    """(Q, W + 1) by name."""
    shares: Shares

    @cached_property
    def truth(self) -> Labels:
        """(Q,)"""
        return self.queries["truth"].to_numpy(dtype=np.str_)

    @cached_property
    def kind(self) -> Labels:
        """(Q,)"""
        return kinds(self.queries["role"])


@dataclass(frozen=True)
class CrossFit:
    """A decision for the queries to come, and the answers to validation by decisions fitted on other folds."""

    decision: Decision
    answers: pd.DataFrame
    """The columns of `paths.VALIDATION`, but for `centroid`."""
    curve: pd.DataFrame
    """The `threshold_curve` of these answers."""


def cross_fit(names: Sequence[str], scored: ScoredQueries) -> CrossFit:
    """Weight some of the scores, calibrate them and find the threshold: on all of validation, and without each fold.

    Queries have their `query_weights`. Duplicates have none in the threshold's curve, which would reward remembering a
    photo. The threshold for the queries to come is where the curve of the cross-fitted answers is highest.
    """
    everything, fold = np.ones(len(scored.queries), dtype=np.bool_), scored.queries["fold"].to_numpy()
    weights, calibrated, top = _fit(names, scored, everything)
    labels, values = np.empty_like(top.labels), np.empty_like(top.probabilities)
    uncalibrated, thresholds = np.empty(len(fold)), np.empty(len(fold))
    for number in np.unique(fold):
        own, others = fold == number, fold != number
        _, mapping, raw = _fit(names, scored, others, start=weights)
        top = mapping.transform(raw)
        labels[own], values[own], uncalibrated[own] = (
            top.labels[own],
            round_significant(top.probabilities)[own],
            raw.probabilities[own, 0],
        )
        _, thresholds[own] = _threshold(scored, top.labels, round_significant(top.probabilities), others)
    curve, threshold = _threshold(scored, labels, values, everything)
    answers = scored.queries[["Image", "whale", "role", "truth", "fold", "cluster"]].assign(threshold=thresholds)
    answers = answers.join(to_table(labels, values)).assign(uncalibrated=round_significant(uncalibrated))
    return CrossFit(Decision(weights.weights, weights.bias, calibrated, threshold), answers, curve)


def round_significant(values: Floats) -> Floats:
    """Return `values` to six significant digits, as files keep them: so all agree which are above a threshold."""
    factors = 10.0 ** (5 - np.floor(np.log10(np.maximum(values, 1e-15))))
    digits: Floats = np.round(values * factors) / factors
    return digits


def _fit(
    names: Sequence[str], scored: ScoredQueries, subset: Bools, start: Fusion | None = None
) -> tuple[Fusion, Calibration, TopWhales]:
    """Fit weights and calibration on a subset (Q,) of the queries; return also all queries' whales, not calibrated."""
    table = [scored.scores[name] for name in names]
    column = {label: index for index, label in enumerate(scored.whales.tolist())}  # else that of `new_whale`
    y = np.array([column.get(label, len(column)) for label in scored.truth.tolist()])
    sample_weight = query_weights(scored.kind, scored.shares, subset.astype(np.float64))
    weights = fusion.fit(names, table, y, sample_weight, start)
    top = fusion.predict(weights, table, scored.whales)
    rows = sample_weight > 0
    right = top.labels[rows, 0] == scored.truth[rows]
    return weights, calibration.fit(top.probabilities[rows, 0], right, sample_weight[rows]), top


def _threshold(scored: ScoredQueries, labels: Labels, values: Floats, subset: Bools) -> tuple[pd.DataFrame, float]:
    """Return the threshold curve of a subset (Q,) of the queries, and the best threshold."""
    kind = scored.kind[subset]
    curve = threshold_curve(labels[subset], values[subset], scored.truth[subset], kind, scored.shares)
    counted = query_weights(kind, scored.shares, np.isin(kind, ["known", "unknown"]).astype(np.float64))
    return curve, best_threshold(curve, int((counted > 0).sum()))
