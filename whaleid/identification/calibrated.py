"""Calibrate one network or an ensemble on validation, and summarise the fit as tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from whaleid.core.calibration_files import CalibrationResult, Inputs
from whaleid.core.labels import Score
from whaleid.identification import figures, validation
from whaleid.identification.crossfit import CrossFit, ScoredQueries, cross_fit
from whaleid.identification.folds import assign_folds, clusters
from whaleid.identification.map5 import Shares, kinds, reciprocal_ranks
from whaleid.identification.ranking import at_threshold, top_k
from whaleid.identification.scores import Scorer, score_name

COMPARED = ["map5", "map5_no_duplicates", "map5_known"]
"""The metrics that are compared between sets of scores."""
Allocate = Callable[[int, tuple[int, int]], list[npt.NDArray[np.float32]]]
"""A function of a number of arrays and their shape that returns uninitialised float32 arrays."""


def calibrate(
    name: str, inputs: Inputs, scores: Mapping[str, Sequence[Score]], unknown_share: float, allocate: Allocate
) -> CalibrationResult:
    """Cross-fit the weights, calibration and threshold of one network or an ensemble on validation.

    Each score (for an ensemble: each network) is also fitted alone, to compare them.

    Args:
        name: the variant or the prediction, for messages.
        inputs: the features of the networks, and the tables of the catalogue.
        scores: network name to its scores.
        unknown_share: `split.unknown_share`.
        allocate: allocates one array (queries, whales + 1) per score.
    """
    shares = Shares(unknown_share, validation.duplicate_share(inputs.leaks, inputs.catalog))
    score_sets = _score_sets(scores)
    scored, centroid = _score(inputs, [*score_sets.values()][-1], shares, allocate)
    with threadpool_limits(1), ThreadPoolExecutor() as pool:  # one thread per fit
        fits = list(pool.map(partial(cross_fit, scored=scored), score_sets.values()))
    means = [figures.map5_by_kind(at_threshold(fit.answers), shares) for fit in fits]
    compared = pd.DataFrame(means, index=pd.Index(score_sets, name="score")).reindex(columns=COMPARED)
    fit = fits[-1]  # of all scores
    decision = fit.decision
    auto = {"threshold_auto": decision.threshold_auto} | figures.threshold_range(fit.answers, decision.threshold_auto)
    auto["map5_auto"] = means[-1]["map5_no_duplicates"]
    return CalibrationResult(
        decision=asdict(decision) | {"thresholds": fit.answers.groupby("fold")["threshold"].first().tolist()},
        validation=fit.answers.assign(centroid=centroid),
        curve=fit.curve,
        scores=compared.reset_index(),
        params={"variant": name, "unknown_share": shares.unknown, "scores": " ".join(decision.weights)},
        metrics={
            **{f"weight_{score}": weight for score, weight in decision.weights.items()},
            "bias": decision.bias,
            **{f"calibration_{key}": value for key, value in asdict(decision.calibration).items()},
            **auto,
            **{f"{key}_{score}": value for score, row in compared.iterrows() for key, value in row.dropna().items()},
        },
        summary=_summary(name, fit, auto),
    )


def _score(
    inputs: Inputs, names: Sequence[str], shares: Shares, allocate: Allocate
) -> tuple[ScoredQueries, npt.NDArray[np.float64]]:
    """Score the validation queries by `names`; also return the reciprocal rank (Q,) of the truth by centroids alone."""
    features = inputs.features
    classes = {label for network in features.values() for label in network.classes.tolist()}
    queries = validation.queries(inputs.split, classes)
    cluster = clusters(queries, inputs.groups)
    queries = queries.assign(
        fold=assign_folds(queries["Image"].tolist(), queries["role"].tolist(), cluster), cluster=cluster
    )
    scorer = Scorer(features, validation.gallery(inputs.split, held_out=False))
    embeddings = {name: network.select(queries["Image"]) for name, network in features.items()}
    duplicates = validation.duplicate_labels(queries, inputs.groups)
    table = allocate(len(names), (len(queries), len(scorer.whales) + 1))
    centroids = [score_name(network, "centroid", len(features)) for network in features]
    all_names = [*dict.fromkeys([*names, *centroids])]
    columns = [all_names.index(name) for name in centroids]
    first, labels = 0, []
    with threadpool_limits(1):  # the last digits of a matrix product depend on the number of threads
        for block in scorer.score(all_names, embeddings, duplicates):  # (K, B, W + 1)
            end = first + block.shape[1]
            for scores, rows in zip(table, block[: len(names)], strict=True):
                scores[first:end] = rows
            labels.append(top_k(block[columns, :, :-1].mean(axis=0), scorer.whales)[0])
            first = end
    scored = ScoredQueries(queries, scorer.whales, dict(zip(names, table, strict=True)), shares)
    same = np.concatenate(labels) == scored.truth[:, None]  # (Q, 5)
    return scored, reciprocal_ranks(np.where(same.any(axis=1), same.argmax(axis=1) + 1, 0))


def _score_sets(scores: Mapping[str, Sequence[Score]]) -> dict[str, list[str]]:
    """Return the sets of score names to compare, by label; the last set contains all scores of all networks.

    The other sets are the single scores of one network, or the scores of each network of an ensemble.
    """
    by_network = {
        network: [score_name(network, score, len(scores)) for score in network_scores]
        for network, network_scores in scores.items()
    }
    names = [*dict.fromkeys(chain.from_iterable(by_network.values()))]
    if len(names) == 1:
        return {names[0]: names}
    rankers = [name for name in names if name != "duplicates"]  # duplicates alone cannot rank whales
    sets = {name: [name] for name in rankers}
    if len(by_network) > 1:
        sets = {network: [name for name in rankers if name in members] for network, members in by_network.items()}
    if len(rankers) not in (1, len(names)):
        sets["without_duplicates"] = rankers
    return {label: members for label, members in sets.items() if members} | {"all": names}


def _summary(name: str, fit: CrossFit, auto: Mapping[str, float]) -> str:
    decision, roles = fit.decision, fit.answers["role"]
    weights = ", ".join(f"{score} {weight:g}" for score, weight in decision.weights.items())
    queries = np.isin(kinds(roles), ["known", "unknown"]).sum()
    text = (
        f"calibrate {name}: weights {weights}; new_whale bias {decision.bias:g}; calibration slope "
        f"{decision.calibration.slope:g}, intercept {decision.calibration.intercept:g}; threshold "
        f"{decision.threshold_auto:g} ({auto['threshold_auto_low']:g} to {auto['threshold_auto_high']:g} over folds); "
        f"MAP@5 {auto['map5_auto']:.4f} on {queries:,} validation photos, duplicates excluded"
    )
    if not (roles == "unknown").any() and (roles == "new_whale").any():
        text += "; no whale is held out, so photos labelled new_whale stand for unknown whales"
    return text
