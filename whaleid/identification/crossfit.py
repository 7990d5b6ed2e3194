"""A decision fitted on all of validation, and answers to validation by decisions fitted without what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.identification import calibrating
from whaleid.identification.calibration import Calibration, Method, features
from whaleid.identification.decision import Best, Decision, best
from whaleid.identification.fitting import fit_fusions
from whaleid.identification.fusion import Table
from whaleid.identification.threshold import best_threshold, threshold_curve
from whaleid.identification.validation import importance


@dataclass(frozen=True)
class Queries:
    """What validation asks, and what is to be weighed."""

    asked: pd.DataFrame
    """`Image,whale,truth,role`, a row a query."""
    part: npt.NDArray[np.int64]
    """(Q,) of `parts.parts`."""
    whales: npt.NDArray[np.str_]
    """(W,) the candidates, sorted."""
    table: Table
    """K of (Q, W + 1), the scores of every candidate."""
    density: npt.NDArray[np.float64]
    """(Q,) of `similarity.density`."""
    unknown_share: float
    duplicate_share: float


@dataclass(frozen=True)
class Fitted:
    """What fitting leaves: `whole`, for the queries to come; and for validation what others than its part say."""

    whole: Decision
    thresholds: npt.NDArray[np.float64]
    """(P,) found without each part in turn, in the order of their numbers."""
    labels: npt.NDArray[np.str_]
    """(Q, min(5, W)) the best whales, by decisions fitted without the part that they answer."""
    values: npt.NDArray[np.float64]
    """Their calibrated probabilities, `rounded`."""
    uncalibrated: npt.NDArray[np.float64]
    """(Q,) the best whale's probability before calibration."""
    curve: pd.DataFrame
    """Of `threshold_curve`, from these answers, without duplicates."""


def fit(names: Sequence[str], queries: Queries, methods: Sequence[Method] = calibrating.METHODS) -> Fitted:
    """Weigh the scores named, calibrate by one of `methods`, and find the threshold: on all, and without each part.

    What is fitted weighs queries by `importance`, the threshold those that are no duplicates, which would reward
    remembering a picture. The threshold of the whole is where the curve of the cross-fitted answers is highest.
    """
    truth = queries.asked["truth"].to_numpy(dtype=np.str_)
    # whose whale is no candidate, is of no known whale to whoever answers
    column = {label: index for index, label in enumerate(queries.whales.tolist())}
    columns = np.array([column.get(label, len(queries.whales)) for label in truth.tolist()])
    numbers = np.unique(queries.part)
    among = [np.ones(len(truth), dtype=np.bool_), *(queries.part != number for number in numbers)]
    counts = np.stack([_importance(queries, of) for of in among])
    fusions = fit_fusions(names, queries.table, columns, counts)
    found = best(queries.table, queries.whales, fusions)

    labels, uncalibrated = found[0].labels.copy(), found[0].values[:, 0].copy()
    values = np.zeros(labels.shape)
    calibrations, thresholds = [], []
    for fit, of in enumerate(among):
        calibrations.append(_calibration(queries, found[fit], counts[fit], methods))
        calibrated, _ = calibrations[fit].apply(found[fit].values, found[fit].whales, queries.density)
        said = rounded(calibrated)
        if fit:
            thresholds.append(_curve(queries, found[fit].labels, said, of)[1])
            labels[~of], values[~of] = found[fit].labels[~of], said[~of]
            uncalibrated[~of] = found[fit].values[~of, 0]
    curve, threshold = _curve(queries, labels, values, among[0])
    whole = Decision(fusions[0], calibrations[0], threshold)
    return Fitted(whole, np.array(thresholds), labels, values, uncalibrated, curve)


def _calibration(
    queries: Queries, found: Best, counts: npt.NDArray[np.float64], methods: Sequence[Method]
) -> Calibration:
    counted = counts > 0
    truth = queries.asked["truth"].to_numpy(dtype=np.str_)
    return calibrating.choose(
        features(found.values, queries.density)[counted],
        (found.labels[:, 0] == truth)[counted],
        counts[counted],
        queries.part[counted],
        methods,
    )


def _importance(queries: Queries, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    drawn = among[None].astype(np.float64)
    counts: npt.NDArray[np.float64] = importance(
        queries.asked["role"], queries.unknown_share, queries.duplicate_share, drawn
    )[0]
    return counts


def _curve(
    queries: Queries,
    labels: npt.NDArray[np.str_],
    values: npt.NDArray[np.float64],
    among: npt.NDArray[np.bool_],
) -> tuple[pd.DataFrame, float]:
    """Return the curve of some of the queries, without duplicates, and its best threshold."""
    fresh = among & (queries.asked["role"] != "duplicate").to_numpy()
    truth = queries.asked["truth"].to_numpy(dtype=np.str_)
    counts = _importance(queries, fresh)
    curve = threshold_curve(labels, values, truth, counts)
    return curve, best_threshold(curve, int(np.count_nonzero(counts)))


def rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return `values` to six significant digits: as files keep them, so that all agree what is above a threshold."""
    factors = 10.0 ** (5 - np.floor(np.log10(np.maximum(values, 1e-15))))
    found: npt.NDArray[np.float64] = np.round(values * factors) / factors
    return found
