"""From scores to probabilities and a threshold, fitted on validation and cross-fitted: measured where not fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whaleid.identification import calibration
from whaleid.identification.calibration import Calibration
from whaleid.identification.fusion import Fusion, Table, exponentials, logits
from whaleid.identification.ranking import leading

BLOCK = 2**18
"""Scores that are weighed together: so many stay in a core's cache from one operation to the next."""


@dataclass(frozen=True)
class Best:
    """The best whales of queries, by descending probability, ties by label."""

    labels: npt.NDArray[np.str_]  # (Q, min(5, W))
    values: npt.NDArray[np.float64]  # their probabilities
    whales: npt.NDArray[np.float64]  # (Q,) the probability of all whales together


@dataclass(frozen=True)
class Decision:
    """How scores become probabilities, and the threshold that goes with them."""

    fusion: Fusion
    calibration: Calibration
    threshold: float

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "weights": dict(self.fusion.weights),
            "bias": self.fusion.bias,
            "calibration": self.calibration.as_json(),
            "threshold_auto": self.threshold,
        }

    def best(self, table: Table, whales: npt.NDArray[np.str_], density: npt.NDArray[np.float64]) -> Best:
        """Return the best whales with calibrated probabilities; `table` is (K, Q, W + 1), `density` (Q,)."""
        (found,) = best(table, whales, [self.fusion])
        return Best(found.labels, *self.calibration.apply(found.values, found.whales, density))


def from_json(said: Mapping[str, Any]) -> Decision:
    """Return the decision whose `as_json` this is."""
    fusion = Fusion(said["weights"], said["bias"])
    return Decision(fusion, calibration.from_json(said["calibration"]), said["threshold_auto"])


def best(table: Table, whales: npt.NDArray[np.str_], fusions: Sequence[Fusion]) -> list[Best]:
    """Return the best of `whales` (W,) as each of `fusions` weighs the scores of a `table`, K of (Q, W + 1).

    One pass over the table serves all of them; of it, a block of queries is held at a time.
    """
    scores, (queries, candidates) = len(table), table[0].shape
    several = max(1, BLOCK // (scores * candidates))
    found: list[list[Best]] = [[] for _ in fusions]
    for first in range(0, queries, several):
        block = np.stack([each[first : first + several] for each in table])
        for fusion, blocks in zip(fusions, found, strict=True):
            summed = logits(block, fusion)
            labels, leads = leading(summed[:, :-1], whales)  # by logits: far behind, exponentials are all the same
            likely = exponentials(summed)
            together = likely[:, :-1].sum(axis=1, dtype=np.float64)
            sums = together + likely[:, -1]
            blocks.append(Best(labels, np.exp(leads) / sums[:, None], together / sums))
    return [
        Best(*(np.concatenate([getattr(block, name) for block in blocks]) for name in ("labels", "values", "whales")))
        for blocks in found
    ]
