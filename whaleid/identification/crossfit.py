"""A decision fitted on all of validation, and answers to validation by decisions fitted on its other folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from whaleid.core.features import Features
from whaleid.core.labels import Score
from whaleid.identification import calibration, fusion, metrics, validation
from whaleid.identification.calibration import Calibration
from whaleid.identification.decision import Decision
from whaleid.identification.folds import assign, clusters
from whaleid.identification.fusion import Fusion, TopWhales
from whaleid.identification.ranking import at_threshold, leading, to_table
from whaleid.identification.scores import Scorer, score_name
from whaleid.identification.threshold import best_threshold, threshold_curve
from whaleid.identification.validation import Shares

Bools = npt.NDArray[np.bool_]
COMPARED = ["map5", "map5_no_duplicates", "map5_known"]
"""The metrics of each score alone."""
Allocate = Callable[[int, tuple[int, int]], list[npt.NDArray[np.float32]]]
"""Takes a number of arrays and their shape; returns them, float32, their values undefined."""


@dataclass(frozen=True)
class ScoredQueries:
    """The queries of validation and the scores of every candidate."""

    queries: pd.DataFrame
    """`Image,whale,role,truth,fold,cluster`, a row a query."""
    whales: npt.NDArray[np.str_]
    """(W,) the candidates, sorted."""
    scores: Mapping[str, npt.NDArray[np.float32]]
    """(Q, W + 1) by name."""
    shares: Shares

    @property
    def truth(self) -> npt.NDArray[np.str_]:
        """(Q,)"""
        return self.queries["truth"].to_numpy(dtype=np.str_)


@dataclass(frozen=True)
class CrossFit:
    """A decision for the queries to come, and the answers to validation by decisions fitted on other folds."""

    decision: Decision
    thresholds: npt.NDArray[np.float64]
    """(5,) the threshold fitted without each fold, in order of their numbers."""
    answers: pd.DataFrame
    """The columns of `paths.VALIDATION`, but for `centroid`."""
    curve: pd.DataFrame
    """Of `threshold_curve`, from these answers, without duplicates."""


def cross_fit(names: Sequence[str], scored: ScoredQueries) -> CrossFit:
    """Weight some of the scores, calibrate them and find the threshold: on all of validation, and without each fold.

    Queries have their `query_weights`. Duplicates have none in the threshold's curve, which would reward remembering a
    photo. The threshold for the queries to come is where the curve of the cross-fitted answers is highest.
    """
    everything, fold = np.ones(len(scored.queries), dtype=np.bool_), scored.queries["fold"].to_numpy()
    weights, calibrated, top = _fit(names, scored, everything)
    labels, values, uncalibrated = np.empty_like(top.labels), np.empty_like(top.values), np.empty(len(everything))
    thresholds: dict[int, float] = {}
    for number in np.unique(fold).tolist():
        others, own = fold != number, fold == number
        _, mapping, raw = _fit(names, scored, others, start=weights)
        top = mapping.transform(raw)
        thresholds[number] = _threshold(scored, top.labels, rounded(top.values), others)[1]
        labels[own], values[own], uncalibrated[own] = top.labels[own], rounded(top.values)[own], raw.values[own, 0]
    curve, threshold = _threshold(scored, labels, values, everything)
    answers = scored.queries[["Image", "whale", "role", "truth", "fold", "cluster"]]
    answers = answers.assign(threshold=[thresholds[number] for number in fold.tolist()])
    answers = answers.join(to_table(labels, values)).assign(uncalibrated=rounded(uncalibrated))
    decision = Decision(weights.weights, weights.bias, calibrated, threshold)
    return CrossFit(decision, np.array([*thresholds.values()]), answers, curve)


def _fit(
    names: Sequence[str], scored: ScoredQueries, subset: Bools, start: Fusion | None = None
) -> tuple[Fusion, Calibration, TopWhales]:
    """Fit weights and calibration on a subset (Q,) of the queries; return also all queries' whales, not calibrated."""
    table = [scored.scores[name] for name in names]
    column = {label: index for index, label in enumerate(scored.whales.tolist())}  # else that of `new_whale`
    columns = np.array([column.get(label, len(column)) for label in scored.truth.tolist()])
    sample_weight = validation.query_weights(scored.queries["role"], scored.shares, subset)
    weights = fusion.fit(names, table, columns, sample_weight, start)
    top = fusion.predict(weights, table, scored.whales)
    rows = sample_weight > 0
    right = top.labels[rows, 0] == scored.truth[rows]
    return weights, calibration.fit(top.values[rows, 0], right, sample_weight[rows]), top


def _threshold(
    scored: ScoredQueries, labels: npt.NDArray[np.str_], values: npt.NDArray[np.float64], subset: Bools
) -> tuple[pd.DataFrame, float]:
    """Return the threshold curve of a subset (Q,) of the queries, without duplicates, and the best threshold."""
    roles = scored.queries["role"]
    sample_weight = validation.query_weights(roles, scored.shares, subset & (roles != "duplicate").to_numpy())
    curve = threshold_curve(labels, values, scored.truth, sample_weight)
    return curve, best_threshold(curve, int(np.count_nonzero(sample_weight)))


def rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return `values` to six significant digits, as files keep them: so all agree which are above a threshold."""
    factors = 10.0 ** (5 - np.floor(np.log10(np.maximum(values, 1e-15))))
    digits: npt.NDArray[np.float64] = np.round(values * factors) / factors
    return digits


def calibrate(
    features: Mapping[str, Features],
    scores: Mapping[str, Sequence[Score]],
    split: pd.DataFrame,
    groups: pd.DataFrame,
    shares: Shares,
    allocate: Allocate,
) -> tuple[CrossFit, dict[str, dict[str, float]]]:
    """Cross-fit a prediction on validation; compare it with each of its scores alone.

    Args:
        features: of the networks that decide together.
        scores: of each network.
        split: `Image,Id,part,role`.
        groups: `group,Image,part,Id`, the photos of each duplicate group.
        shares: of the queries to come.
        allocate: makes room for the scores of all queries, (queries, whales + 1) each.

    Returns:
        The fit, whose answers have a column `centroid`: the gain of the truth by centroids alone. And `COMPARED` of the
        scores alone and, last, of all together, by name.
    """
    named = {network: [score_name(network, score, len(features)) for score in scores[network]] for network in features}
    names = [*dict.fromkeys(chain.from_iterable(named.values()))]
    queries = validation.queries(split, {label for each in features.values() for label in each.classes.tolist()})
    cluster = clusters(queries, groups)
    queries = queries.assign(fold=assign(queries["Image"].tolist(), queries["role"].tolist(), cluster), cluster=cluster)
    scorer = Scorer(features, validation.gallery(split, held_out=False))
    embeddings = {name: each.select(queries["Image"]) for name, each in features.items()}
    duplicates = validation.duplicate_labels(queries, groups)
    table = allocate(len(names), (len(queries), len(scorer.whales) + 1))
    alternatives = _alternatives(named)
    # one thread a matrix product, since the last digits depend on their number, and one a fit
    with threadpool_limits(1), ThreadPoolExecutor() as pool:
        filled = 0
        for block in scorer.score(names, embeddings, duplicates):
            for each, rows in zip(table, block, strict=True):
                each[filled : filled + len(rows)] = rows
            filled += block.shape[1]
        scored = ScoredQueries(queries, scorer.whales, dict(zip(names, table, strict=True)), shares)
        fits = list(pool.map(lambda chosen: cross_fit(chosen, scored), alternatives.values()))
        centroids = [score_name(network, "centroid", len(features)) for network in features]
        by_centroid: list[list[str]] = []
        for block in scorer.score(centroids, embeddings, duplicates):
            by_centroid += leading(block[:, :, :-1].mean(axis=0), scorer.whales)[0].tolist()
    compared = {name: _compared(each.answers, shares) for name, each in zip(alternatives, fits, strict=True)}
    fit = fits[-1]  # by all scores
    answers = fit.answers.assign(centroid=metrics.reciprocal_ranks(by_centroid, queries["truth"].tolist()))
    return replace(fit, answers=answers), compared


def _compared(answers: pd.DataFrame, shares: Shares) -> dict[str, float]:
    ranks = at_threshold(answers, answers["threshold"].to_numpy())["rank"].to_numpy()
    figures = metrics.ranking_metrics(answers, ranks, np.ones((1, len(answers))), shares)
    return {key: float(figures[key][0]) for key in COMPARED if key in figures}


def _alternatives(named: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the sets of scores to compare, by name; the last has all scores of all networks.

    Of one network they are its scores one by one, of several those of each network.
    """
    names = [*dict.fromkeys(chain.from_iterable(named.values()))]
    if len(names) == 1:
        return {names[0]: names}
    rankers = [name for name in names if name != "duplicates"]  # duplicates alone rank no whales
    sets = {name: [name] for name in rankers}
    if len(named) > 1:
        sets = {network: [name for name in rankers if name in own] for network, own in named.items()}
    if len(rankers) not in (1, len(names)):
        sets["without_duplicates"] = rankers
    return {label: chosen for label, chosen in sets.items() if chosen} | {"all": names}
