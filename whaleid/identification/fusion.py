"""Fusion of scores into one probability per candidate: a conditional logit over the whales and `new_whale`.

The probability of candidate c is the softmax p(c) = exp(z_c) / sum_c' exp(z_c') of z_c = sum_k weight_k * score_k(c),
plus a bias for `new_whale` (McFadden, "Conditional logit analysis of qualitative choice behavior", in Zarembka (ed.),
*Frontiers in Econometrics*, 1974).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat

from whaleid.identification.ranking import Floats, top_k

ScoreTable = npt.NDArray[np.float32] | Sequence[npt.NDArray[np.float32]]
"""Scores of every query for every candidate: one array (K, Q, W + 1), or K arrays (Q, W + 1), which avoids a copy."""
PRIOR_WEIGHT = 10.0
"""The prior of the weights: the weight of a score without evidence in validation, such as `duplicates` if there are
none."""
MAX_WEIGHT = 99.0
"""The largest weight, and the largest absolute bias: the optimum is infinite for scores that are always correct."""
RIDGE = 1e-6
"""The penalty on the squared distance of weights from `PRIOR_WEIGHT` and of the bias from 0."""
MIN_LOGIT = np.float32(-60)
"""Smaller logits are clipped: their exponentials would become denormal numbers, which are slow to compute with."""
BLOCK = 2**18
"""Maximum number of scores weighted in one block, which fits in a core's cache."""


@dataclass(frozen=True)
class Fusion:
    """The weight of each score, by name and in the order of the score table, and the bias of `new_whale`."""

    weights: Annotated[Mapping[str, Annotated[FiniteFloat, Field(ge=0)]], Field(min_length=1)]
    bias: FiniteFloat


@dataclass(frozen=True)
class TopWhales:
    """The five most probable whales of each query, in descending order; ties are ordered by label."""

    labels: npt.NDArray[np.str_]
    """(Q, min(5, W))"""
    probabilities: Floats
    """(Q, min(5, W))"""
    known_probability: Floats
    """(Q,) the sum of the probabilities of all whales."""


def predict(fusion: Fusion, table: ScoreTable, whales: npt.NDArray[np.str_]) -> TopWhales:
    """Compute the most probable of `whales` (W,); `table` contains the scores in the order of `fusion.weights`."""
    coefficients = np.array([*fusion.weights.values(), fusion.bias])
    blocks = []
    for rows in _blocks(table, np.arange(table[0].shape[0])):
        logits = _logits(coefficients, np.stack([scores[rows] for scores in table]))
        # ranked by logits: the exponentials of clipped logits are equal
        labels, top_logits = top_k(logits[:, :-1], whales)
        exponentials = _exponentials(logits)
        known = exponentials[:, :-1].sum(axis=1, dtype=np.float64)
        total = known + exponentials[:, -1]
        blocks.append((labels, np.exp(top_logits) / total[:, None], known / total))
    return TopWhales(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def fit(
    names: Sequence[str],
    table: ScoreTable,
    y: npt.NDArray[np.int64],
    sample_weight: Floats,
    start: Fusion | None = None,
) -> Fusion:
    """Fit the weights and the bias by minimising the log loss with L-BFGS-B.

    They are rounded to four decimals, so that the saved values are those used.

    Args:
        names: the score names (K,), in the order of `table`.
        table: the scores, (K, Q, W + 1).
        y: (Q,), the column of the true candidate of each query.
        sample_weight: (Q,), with sum 1.
        start: where the search starts. The loss is convex, so it changes the result only within the tolerance.
    """
    from scipy.optimize import minimize  # imported here because `identify` does not fit

    initial = np.append(np.ones(len(names)), 0.0) if start is None else np.array([*start.weights.values(), start.bias])
    result = minimize(
        log_loss,
        initial,
        args=(table, y, sample_weight),
        method="L-BFGS-B",
        jac=True,
        bounds=[*[(0.0, MAX_WEIGHT)] * len(names), (-MAX_WEIGHT, MAX_WEIGHT)],
        options={"ftol": 1e-7, "gtol": 1e-6},
    )
    *weights, bias = np.round(result.x, 4).tolist()
    return Fusion(dict(zip(names, weights, strict=True)), bias)


def log_loss(
    coefficients: Floats, table: ScoreTable, y: npt.NDArray[np.int64], sample_weight: Floats
) -> tuple[float, Floats]:
    """Compute the log loss with a ridge penalty, and its gradient (K + 1,).

    `coefficients` (K + 1,) are the weights and the bias; the other arguments are as in `fit`.
    """
    distance = coefficients - np.append(np.full(len(coefficients) - 1, PRIOR_WEIGHT), 0.0)
    loss, gradient = RIDGE * float(distance @ distance), 2 * RIDGE * distance
    for rows in _blocks(table, np.flatnonzero(sample_weight)):
        block = np.stack([scores[rows] for scores in table])  # (K, B, W + 1)
        queries, true, weight = np.arange(len(rows)), y[rows], sample_weight[rows]
        logits = _logits(coefficients, block)
        true_logits = logits[queries, true].astype(np.float64)
        probabilities = _exponentials(logits)
        total = probabilities.sum(axis=1)
        loss += float(weight @ (np.log(total.astype(np.float64)) - true_logits))
        probabilities /= total[:, None]
        probabilities[queries, true] -= 1
        probabilities *= weight[:, None].astype(np.float32)
        gradient[:-1] += block.reshape(len(block), -1) @ probabilities.ravel()
        gradient[-1] += probabilities[:, -1].sum(dtype=np.float64)
    return loss, gradient


def _blocks(table: ScoreTable, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    size = max(1, BLOCK // (len(table) * table[0].shape[1]))
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _logits(coefficients: Floats, block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the logits (B, W + 1) of scores (K, B, W + 1), shifted so that the maximum of each row is 0."""
    weights = coefficients.astype(np.float32)
    logits: npt.NDArray[np.float32] = np.tensordot(weights[:-1], block, axes=1)
    logits[:, -1] += weights[-1]
    logits -= logits.max(axis=1, keepdims=True)
    return logits


def _exponentials(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Replace `logits` by their exponentials, in place."""
    np.maximum(logits, MIN_LOGIT, out=logits)
    return np.exp(logits, out=logits)
