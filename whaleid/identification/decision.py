"""From scores to probabilities, and the threshold at which `new_whale` takes its rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import TypeAdapter

from whaleid.identification import fusion
from whaleid.identification.calibration import Calibration
from whaleid.identification.fusion import Fusion, Table, TopWhales
from whaleid.identification.ranking import by_duplicates, to_table
from whaleid.identification.scores import Embeddings, Scorer


@dataclass(frozen=True)
class Decision(Fusion):
    """How scores become probabilities, and the threshold that goes with them: `dataclasses.asdict` is its JSON."""

    calibration: Calibration
    threshold_auto: float

    def predict(self, table: Table, whales: npt.NDArray[np.str_]) -> TopWhales:
        """Return the best of `whales` (W,) with calibrated probabilities; `table` holds K scores, (Q, W + 1) each."""
        return self.calibration.transform(fusion.predict(self, table, whales))

    def answers(
        self, scorer: Scorer, queries: Embeddings, duplicates: Sequence[Sequence[str]], fill: Sequence[str]
    ) -> pd.DataFrame:
        """Return the best whales of each query in the columns of `to_table`, which `fill` completes.

        `duplicates` (Q,) are the labels of each query's duplicates.
        """
        tables = [by_duplicates([], [])]  # for the columns, if there are no queries
        for scores in scorer.score([*self.weights], queries, duplicates):
            top = self.predict(scores, scorer.whales)
            tables.append(to_table(top.labels, top.values, fill))
        return pd.concat(tables, ignore_index=True)


def from_json(content: bytes) -> Decision:
    """Return the decision that JSON describes; further keys are ignored."""
    return TypeAdapter(Decision).validate_json(content)
