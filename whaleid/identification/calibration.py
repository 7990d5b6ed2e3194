"""Probabilities that mean what they say: how probable it is that the best whale is right.

What a fusion says is too sure or too modest. A calibration takes the probability of the best whale to the share of such
queries where it is right; the other whales follow it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Method = Literal["none", "temperature", "logistic", "logistic_features", "isotonic"]
FEATURES = ("logit", "margin", "density")
"""Of a query: the best whale's logit, how far the second is behind (nats), and how alike its nearest photos are."""
LEAST = 1e-6
"""A probability: below it, and as near to 1, all are the same."""


@dataclass(frozen=True)
class Calibration:
    """A map to the probability that the best whale is right.

    Of `isotonic` it is `knots`, probability by logit, with straight lines between them; of the others the logistic
    function of the features weighed, and an intercept.
    """

    method: Method = "none"
    weights: Mapping[str, float] | None = None  # by FEATURES; None: the logit as it is
    intercept: float = 0.0
    knots: Sequence[tuple[float, float]] = ()

    def right(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return (Q,) the probability that the best whale is right, from `features` (Q, 3)."""
        if self.method == "isotonic":
            logits, probabilities = np.array(self.knots).T
            interpolated: npt.NDArray[np.float64] = np.interp(features[:, 0], logits, probabilities)
            return interpolated
        weights = self.weights or {"logit": 1.0}
        sums = features @ [weights.get(name, 0.0) for name in FEATURES] + self.intercept
        found: npt.NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(sums, -60, 60)))
        return found

    def apply(
        self,
        values: npt.NDArray[np.float64],
        whales: npt.NDArray[np.float64],
        density: npt.NDArray[np.float64],
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return (Q, K) calibrated probabilities of the best whales, in the same order, and (Q,) that of all together.

        `values` (Q, K) are what the fusion gives them, `whales` (Q,) what it gives all whales together, `density` (Q,)
        that of `similarity`. Where the best one loses, the others lose by the same factor; where it gains, they and
        `new_whale`, which has what is left to a sum of 1, make room in proportion.
        """
        if self.method == "none":
            return values, whales
        right, best = self.right(features(values, density)), values[:, 0]
        factor = np.divide(right, best, out=np.zeros_like(right), where=best > 0)
        room = np.divide(1 - right, 1 - best, out=np.zeros_like(right), where=best < 1)
        scale = np.minimum(factor, room)
        others = np.maximum(whales - best, values[:, 1:].sum(axis=1)) * scale
        return np.column_stack([right, values[:, 1:] * scale[:, None]]), right + others

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        said: dict[str, Any] = {"method": self.method}
        if self.method == "isotonic":
            return said | {"knots": [list(knot) for knot in self.knots]}
        return said if self.weights is None else said | {"weights": dict(self.weights), "intercept": self.intercept}


def from_json(said: Mapping[str, Any]) -> Calibration:
    """Return the calibration whose `as_json` this is."""
    knots = tuple((float(logit), float(probability)) for logit, probability in said.get("knots", ()))
    return Calibration(said["method"], said.get("weights"), said.get("intercept", 0.0), knots)


def features(values: npt.NDArray[np.float64], density: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (Q, 3), the FEATURES of queries whose best whales have the probabilities `values` (Q, K)."""
    sure = np.clip(values, LEAST, 1 - LEAST)
    best = sure[:, 0]
    second = sure[:, 1] if values.shape[1] > 1 else np.full(len(values), LEAST)
    return np.column_stack([np.log(best / (1 - best)), np.log(best / second), density])
