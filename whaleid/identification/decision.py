"""From scores to probabilities, and the threshold at which `new_whale` takes its rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from whaleid.identification import fusion
from whaleid.identification.calibration import Calibration
from whaleid.identification.fusion import Fusion, Table, TopWhales


@dataclass(frozen=True)
class Decision(Fusion):
    """How scores become probabilities, and the threshold that goes with them: `dataclasses.asdict` is its JSON."""

    calibration: Calibration
    threshold_auto: float

    def predict(self, table: Table, whales: npt.NDArray[np.str_]) -> TopWhales:
        """Return the best of `whales` (W,) with calibrated probabilities; `table` holds K scores, (Q, W + 1) each."""
        return self.calibration.transform(fusion.predict(self, table, whales))


def from_json(content: bytes) -> Decision:
    """Return the decision that JSON describes; further keys are ignored."""
    return TypeAdapter(Decision).validate_json(content)
