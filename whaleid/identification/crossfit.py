"""Cross-fitting of decisions on validation.

One decision is fitted on all folds, for future queries. The answers to each fold come from a decision fitted on the
other folds.
"""

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
    """The validation queries and the scores of their candidates."""

    queries: pd.DataFrame
    """One row per query: `Image,whale,role,truth,fold,cluster`."""
    whales: Labels
    """(W,) the candidates, sorted."""
    scores: Mapping[str, npt.NDArray[np.float32]]
    """Score name to (Q, W + 1): one column per whale, then `new_whale`."""
    shares: Shares

    @cached_property
    def truth(self) -> Labels:
        """The true label of each query (Q,)."""
        return self.queries["truth"].to_numpy(dtype=np.str_)

    @cached_property
    def kind(self) -> Labels:
        """The kind of each query (Q,), as in `kinds`."""
        return kinds(self.queries["role"])


@dataclass(frozen=True)
class CrossFit:
    """A decision fitted on all folds, and the held-out answers of decisions fitted without each fold."""

    decision: Decision
    """The decision for future queries, fitted on all folds."""
    answers: pd.DataFrame
    """The held-out answers, one row per query, with the columns of `paths.VALIDATION` except `centroid`."""
    curve: pd.DataFrame
    """The `threshold_curve` of `answers`."""


def cross_fit(names: Sequence[str], scored: ScoredQueries) -> CrossFit:
    """Fit weights, calibration and threshold for the scores `names`: on all folds, and on all but each fold.

    Queries are weighted by `query_weights`. The threshold curve excludes duplicates, which would reward memorised
    photos. The threshold for future queries maximises MAP@5 of the held-out answers, after smoothing.
    """
    all_queries, fold = np.ones(len(scored.queries), dtype=np.bool_), scored.queries["fold"].to_numpy()
    fitted, fitted_calibration, top = _fit(names, scored, all_queries)
    labels, values = np.empty_like(top.labels), np.empty_like(top.probabilities)
    uncalibrated, thresholds = np.empty(len(fold)), np.empty(len(fold))
    for number in np.unique(fold):
        held_out = fold == number
        _, fold_calibration, raw = _fit(names, scored, ~held_out, start=fitted)
        top = fold_calibration.transform(raw)
        probabilities = round_significant(top.probabilities)
        labels[held_out], values[held_out] = top.labels[held_out], probabilities[held_out]
        uncalibrated[held_out] = raw.probabilities[held_out, 0]
        _, thresholds[held_out] = _fit_threshold(scored, top.labels, probabilities, ~held_out)
    curve, threshold = _fit_threshold(scored, labels, values, all_queries)
    answers = scored.queries[["Image", "whale", "role", "truth", "fold", "cluster"]].assign(threshold=thresholds)
    answers = answers.join(to_table(labels, values)).assign(uncalibrated=round_significant(uncalibrated))
    return CrossFit(Decision(fitted.weights, fitted.bias, fitted_calibration, threshold), answers, curve)


def round_significant(values: Floats) -> Floats:
    """Round to six significant digits, as saved files do, so that every stage compares equal values to a threshold."""
    factors = 10.0 ** (5 - np.floor(np.log10(np.maximum(values, 1e-15))))
    digits: Floats = np.round(values * factors) / factors
    return digits


def _fit(
    names: Sequence[str], scored: ScoredQueries, subset: Bools, start: Fusion | None = None
) -> tuple[Fusion, Calibration, TopWhales]:
    """Fit fusion and calibration on a `subset` (Q,) of the queries; also predict all queries, uncalibrated."""
    table = [scored.scores[name] for name in names]
    column = {label: index for index, label in enumerate(scored.whales.tolist())}
    y = np.array([column.get(label, len(column)) for label in scored.truth.tolist()])
    sample_weight = query_weights(scored.kind, scored.shares, subset.astype(np.float64))
    fitted = fusion.fit(names, table, y, sample_weight, start)
    top = fusion.predict(fitted, table, scored.whales)
    rows = sample_weight > 0
    correct = top.labels[rows, 0] == scored.truth[rows]
    return fitted, calibration.fit(top.probabilities[rows, 0], correct, sample_weight[rows]), top


def _fit_threshold(scored: ScoredQueries, labels: Labels, values: Floats, subset: Bools) -> tuple[pd.DataFrame, float]:
    """Return the threshold curve of a `subset` (Q,) of the queries, and the best threshold."""
    kind = scored.kind[subset]
    curve = threshold_curve(labels[subset], values[subset], scored.truth[subset], kind, scored.shares)
    weights = query_weights(kind, scored.shares, np.isin(kind, ["known", "unknown"]).astype(np.float64))
    return curve, best_threshold(curve, int((weights > 0).sum()))
