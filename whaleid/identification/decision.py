"""From scores to probabilities, and the threshold at which `new_whale` takes its rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whaleid.identification import fusion
from whaleid.identification.calibration import Calibration
from whaleid.identification.fusion import Fusion, Table, TopWhales


@dataclass(frozen=True)
class Decision:
    """How scores become probabilities, and the threshold that goes with them."""

    fusion: Fusion
    calibration: Calibration
    threshold: float

    def predict(self, table: Table, whales: npt.NDArray[np.str_]) -> TopWhales:
        """Return the best of `whales` (W,) with calibrated probabilities; `table` holds K scores, (Q, W + 1) each."""
        return self.calibration.transform(fusion.predict(self.fusion, table, whales))

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self.fusion) | {"calibration": asdict(self.calibration), "threshold_auto": self.threshold}


def from_json(content: Mapping[str, Any]) -> Decision:
    """Return the decision whose `as_json` this is."""
    weights = Fusion(content["weights"], content["bias"])
    return Decision(weights, Calibration(**content["calibration"]), content["threshold_auto"])
