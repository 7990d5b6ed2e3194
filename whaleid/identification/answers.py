"""Answers on validation as a table, a row a query: what is kept of them, and what a threshold makes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE, PLACES
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


def by_duplicates(evidence: Sequence[Sequence[str]], fill: Sequence[str]) -> pd.DataFrame:
    """Return the columns of `wide`: the labels of each query's duplicates, of probability 1, then `fill`, of 0.

    Labels behind `new_whale` have 0 as well, so that it keeps its place among them.
    """
    labels, values = [], []
    for duplicates in evidence:
        distinct = [*dict.fromkeys(duplicates)]
        certain = distinct.index(NEW_WHALE) if NEW_WHALE in distinct else len(distinct)
        whales = [label for label in dict.fromkeys([*distinct, *fill]) if label != NEW_WHALE][:PLACES]
        labels.append(whales + [""] * (PLACES - len(whales)))
        values.append([float(place < certain) for place in range(PLACES)])
    shape = len(labels), PLACES
    return wide(np.array(labels, dtype=np.str_).reshape(shape), np.array(values).reshape(shape))


def filled(answers: pd.DataFrame, fill: Sequence[str]) -> pd.DataFrame:
    """Return the columns of `wide` with empty places filled by whales of `fill`, of probability 0."""
    labels = answers[LABELS].to_numpy(dtype=object)
    for row in np.flatnonzero((labels == "").any(axis=1)):
        whales = [*dict.fromkeys([*(label for label in labels[row] if label), *fill])][:PLACES]
        labels[row, : len(whales)] = whales
    return wide(labels.astype(np.str_), answers[PROBABILITIES].to_numpy(dtype=np.float64))
