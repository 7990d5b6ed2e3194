"""A decision: how scores become calibrated probabilities, and the threshold that ranks `new_whale`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import pandas as pd
from pydantic import Field, TypeAdapter

from whaleid.identification import fusion
from whaleid.identification.calibration import Calibration
from whaleid.identification.fusion import Fusion, TopWhales
from whaleid.identification.ranking import rank_by_duplicates, to_table
from whaleid.identification.scores import Embeddings, Scorer


@dataclass(frozen=True)
class Decision(Fusion):
    """The fusion of scores, its calibration, and the fitted threshold; saved as the JSON of `dataclasses.asdict`."""

    calibration: Calibration
    threshold_auto: Annotated[float, Field(ge=0, le=1)]

    def predict(self, scorer: Scorer, queries: Embeddings, duplicates: Sequence[Sequence[str]]) -> Iterator[TopWhales]:
        """Yield the most probable whales with calibrated probabilities, block by block.

        `queries` maps network names to embeddings (F, Q, D); `duplicates` (Q,) are the labels of each query's
        duplicates.
        """
        for scores in scorer.score([*self.weights], queries, duplicates):
            yield self.calibration.transform(fusion.predict(self, scores, scorer.whales))

    def answers(
        self, scorer: Scorer, queries: Embeddings, duplicates: Sequence[Sequence[str]], fill: Sequence[str]
    ) -> pd.DataFrame:
        """Predict the most probable whales as a table with the columns of `to_table`; rows are completed by `fill`."""
        tables = [to_table(top.labels, top.probabilities, fill) for top in self.predict(scorer, queries, duplicates)]
        # the empty table provides the columns if there are no queries
        return pd.concat([rank_by_duplicates([], []), *tables], ignore_index=True)


def from_json(content: bytes) -> Decision:
    """Read a decision from JSON, ignoring unknown keys."""
    return TypeAdapter(Decision).validate_json(content)
