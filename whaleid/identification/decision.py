"""From scores to probabilities, and the threshold at which `new_whale` takes its rank."""

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
    """How scores become probabilities, and the threshold that goes with them: `dataclasses.asdict` is its JSON."""

    calibration: Calibration
    threshold_auto: Annotated[float, Field(ge=0, le=1)]

    def predict(self, scorer: Scorer, queries: Embeddings, duplicates: Sequence[Sequence[str]]) -> Iterator[TopWhales]:
        """Yield the best whales with calibrated probabilities, for a block of queries after the other.

        `duplicates` (Q,) are the labels of each query's duplicates.
        """
        for scores in scorer.score([*self.weights], queries, duplicates):
            yield self.calibration.transform(fusion.predict(self, scores, scorer.whales))

    def answers(
        self, scorer: Scorer, queries: Embeddings, duplicates: Sequence[Sequence[str]], fill: Sequence[str]
    ) -> pd.DataFrame:
        """Return what `predict` yields in the columns of `to_table`, which `fill` completes."""
        tables = [to_table(top.labels, top.probabilities, fill) for top in self.predict(scorer, queries, duplicates)]
        # the first one is for the columns, if there are no queries
        return pd.concat([rank_by_duplicates([], []), *tables], ignore_index=True)


def from_json(content: bytes) -> Decision:
    """Return the decision that JSON describes; further keys are ignored."""
    return TypeAdapter(Decision).validate_json(content)
