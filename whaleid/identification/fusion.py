"""Several scores into one probability a candidate: a conditional logit over the whales and `new_whale`.

McFadden, "Conditional logit analysis of qualitative choice behavior", in Zarembka (ed.), *Frontiers in Econometrics*,
1974: of alternatives with attributes, one is chosen with a probability that is the softmax of their weighted sums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.float32] | Sequence[npt.NDArray[np.float32]]
"""Scores of every query for every candidate, (K, Q, W + 1), or K of (Q, W + 1): of some scores without a copy."""
FAR = np.float32(-60)
"""Of a logit: below it, exponentials soon are numbers that processors are slow with, and none that count."""


@dataclass(frozen=True)
class Fusion:
    """How much each score counts, by its name, in the order of the score table; and what `new_whale` has on top."""

    weights: Mapping[str, float]  # 0 or more
    bias: float


def logits(table: npt.NDArray[np.float32], fusion: Fusion) -> npt.NDArray[np.float32]:
    """Return (Q, W + 1): of each whale, then of `new_whale`; the largest of a row is 0.

    `table` is (K, Q, W + 1), the scores that `fusion` weighs. The logit of a candidate is the weighted sum of its
    scores; the bias is added to that of `new_whale`.
    """
    scores, *shape = table.shape
    found = (np.array([*fusion.weights.values()], dtype=np.float32) @ table.reshape(scores, -1)).reshape(shape)
    found[:, -1] += np.float32(fusion.bias)
    found -= found.max(axis=1, keepdims=True)
    return found


def exponentials(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return what probabilities are proportional to, in the place of `logits`, of which none is above 0."""
    np.maximum(logits, FAR, out=logits)
    return np.exp(logits, out=logits)
