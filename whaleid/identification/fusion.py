"""Several scores into one probability a candidate: a conditional logit over the whales and `new_whale`.

McFadden, "Conditional logit analysis of qualitative choice behavior", in Zarembka (ed.), *Frontiers in Econometrics*,
1974: of candidates with attributes, one is chosen with a probability that is the softmax of their weighted sums. Here
p(c) = exp(z_c) / sum_c' exp(z_c') with z_c = sum_k weight_k * score_k(c), to which `new_whale` adds its bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat

from whaleid.identification.ranking import Floats, top_k

Table = npt.NDArray[np.float32] | Sequence[npt.NDArray[np.float32]]
"""Scores of every query for every candidate, (K, Q, W + 1), or K of (Q, W + 1): some of the scores without a copy."""
START = 10.0
"""The weight of a score of which validation says nothing, such as duplicates where there are none."""
LIMIT = 99.0
"""The largest weight and bias: scores that are always right have no best weight."""
RIDGE = 1e-6
"""The penalty on the squared distance of weights from `START` and of the bias from 0."""
MIN_LOGIT = np.float32(-60)
"""Exponentials of much smaller logits are denormal numbers, which processors are slow with."""
BLOCK = 2**18
"""Scores that are weighted together: as many stay in a core's cache from one operation to the next."""


@dataclass(frozen=True)
class Fusion:
    """The weight of each score, by name and in the order of the score table, and the bias of `new_whale`."""

    weights: Annotated[Mapping[str, Annotated[FiniteFloat, Field(ge=0)]], Field(min_length=1)]
    bias: FiniteFloat


@dataclass(frozen=True)
class TopWhales:
    """The five best whales of each query, by descending probability, ties by label."""

    labels: npt.NDArray[np.str_]
    """(Q, min(5, W))"""
    probabilities: Floats
    """Their probabilities."""
    known_probability: Floats
    """(Q,) the probability of all whales together."""


def predict(fusion: Fusion, table: Table, whales: npt.NDArray[np.str_]) -> TopWhales:
    """Return the best of `whales` (W,) by their probabilities; `table` holds the scores that `fusion` weights."""
    weights = np.array([*fusion.weights.values(), fusion.bias])
    blocks = []
    for rows in _blocks(table, np.arange(table[0].shape[0])):
        logits = _logits(weights, np.stack([scores[rows] for scores in table]))
        labels, best = top_k(logits[:, :-1], whales)  # by logits: the exponentials of the last are all the same
        exponentials = _exponentials(logits)
        known = exponentials[:, :-1].sum(axis=1, dtype=np.float64)
        total = known + exponentials[:, -1]
        blocks.append((labels, np.exp(best) / total[:, None], known / total))
    return TopWhales(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def fit(
    names: Sequence[str],
    table: Table,
    y: npt.NDArray[np.int64],
    sample_weight: Floats,
    start: Fusion | None = None,
) -> Fusion:
    """Return the weights of the scores `names` and the bias that have the least log loss, by L-BFGS-B.

    `table` holds the scores, K of (Q, W + 1); `y` (Q,) is the column of each query's true candidate; `sample_weight`
    (Q,) is 1 in sum. The loss is convex: a search from `start` ends where any other does. Values are rounded to four
    decimals, so that a file holds those that were used.
    """
    from scipy.optimize import minimize  # here, since `identify` needs no fit

    point = np.append(np.ones(len(names)), 0.0) if start is None else np.array([*start.weights.values(), start.bias])
    result = minimize(
        log_loss,
        point,
        args=(table, y, sample_weight),
        method="L-BFGS-B",
        jac=True,
        bounds=[*[(0.0, LIMIT)] * len(names), (-LIMIT, LIMIT)],
        options={"ftol": 1e-7, "gtol": 1e-6},
    )
    *weights, bias = np.round(result.x, 4).tolist()
    return Fusion(dict(zip(names, weights, strict=True)), bias)


def log_loss(point: Floats, table: Table, y: npt.NDArray[np.int64], sample_weight: Floats) -> tuple[float, Floats]:
    """Return the log loss at weights and bias (K + 1,), with a ridge penalty, and its gradient (K + 1,).

    Other arguments are those of `fit`.
    """
    distance = point - np.append(np.full(len(point) - 1, START), 0.0)
    loss, gradient = RIDGE * float(distance @ distance), 2 * RIDGE * distance
    for rows in _blocks(table, np.flatnonzero(sample_weight)):
        block = np.stack([scores[rows] for scores in table])  # (K, B, W + 1)
        queries, true, weight = np.arange(len(rows)), y[rows], sample_weight[rows]
        logits = _logits(point, block)
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


def _blocks(table: Table, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    size = max(1, BLOCK // (len(table) * table[0].shape[1]))
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _logits(point: Floats, block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (B, W + 1) the weighted sums of scores (K, B, W + 1), with the bias; the largest of a row is 0."""
    weights = point.astype(np.float32)
    logits: npt.NDArray[np.float32] = np.tensordot(weights[:-1], block, axes=1)
    logits[:, -1] += weights[-1]
    logits -= logits.max(axis=1, keepdims=True)
    return logits


def _exponentials(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the exponentials of `logits` in their place."""
    np.maximum(logits, MIN_LOGIT, out=logits)
    return np.exp(logits, out=logits)
