"""Answers on validation as a table, a row a query: what is kept of them, and what a threshold makes of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import PLACES
from whaleid.identification.ranking import rank

LABELS = [f"label{place}" for place in range(1, PLACES + 1)]
PROBABILITIES = [f"probability{place}" for place in range(1, PLACES + 1)]


def wide(labels: npt.NDArray[np.str_], values: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return labels and their values, both (Q, K), K at most 5, in ten columns: empty and 0 beyond K."""
    missing = PLACES - labels.shape[1]
    frame = pd.DataFrame(np.pad(labels.astype(object), ((0, 0), (0, missing)), constant_values=""), columns=LABELS)
    return frame.join(pd.DataFrame(np.pad(values, ((0, 0), (0, missing))), columns=PROBABILITIES))


def decided(answers: pd.DataFrame, thresholds: float | npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return `answers`, `truth` and the columns of `wide` among them, decided at a threshold, one for all or (Q,).

    `threshold` is the one applied, `rank` the place of the truth, from 1, 0 beyond five; `first` the label named first.
    """
    labels = answers[LABELS].to_numpy(dtype=np.str_)
    ranked, _ = rank(labels, answers[PROBABILITIES].to_numpy(dtype=np.float64), thresholds)
    right = ranked == answers["truth"].to_numpy(dtype=np.str_)[:, None]
    place = np.where(right.any(axis=1), right.argmax(axis=1) + 1, 0)
    return answers.assign(threshold=thresholds, rank=place, first=ranked[:, 0])
