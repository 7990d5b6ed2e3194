"""Rank five labels per query: whales by probability, and `new_whale` at the threshold. Convert them to tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE, TOP_K

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.str_]
LABELS = [f"label{k}" for k in range(1, TOP_K + 1)]
"""Columns of the five labels of a query, the most probable first."""
PROBABILITIES = [f"probability{k}" for k in range(1, TOP_K + 1)]
"""Columns of the probabilities of `LABELS`."""


def top_k(values: npt.NDArray[np.float32], whales: Labels) -> tuple[Labels, Floats]:
    """Return the labels and values of the five whales with the highest values, in descending order.

    `values` are (Q, W), `whales` (W,) their labels, sorted. Ties are ordered by label. Returns two (Q, min(5, W)).
    """
    # argmax returns the first of equal values, so ties are ordered by label; five passes are much faster than sorting
    # thousands of columns
    remaining, queries = values.copy(), np.arange(len(values))
    columns = np.empty((len(remaining), min(TOP_K, len(whales))), dtype=np.int64)
    best = np.empty(columns.shape)
    for k in range(columns.shape[1]):
        column = remaining.argmax(axis=1)
        columns[:, k], best[:, k] = column, remaining[queries, column]
        remaining[queries, column] = -np.inf
    return whales[columns], best


def rank(labels: Labels, values: Floats, threshold: float) -> tuple[Labels, Floats]:
    """Rank `new_whale` among the best whales as if its probability were `threshold`.

    `labels` and `values` (Q, K) are the best whales and their probabilities, in descending order. Returns labels and
    probabilities, both (Q, min(5, K + 1)): whales above the threshold, then `new_whale`, then the other whales.
    """
    above = values > threshold
    order = np.column_stack([np.arange(values.shape[1]) + ~above, above.sum(axis=1)]).argsort(axis=1)  # (Q, K + 1)
    candidates = np.column_stack([labels, np.full(len(labels), NEW_WHALE)])
    probabilities = np.column_stack([values, np.full(len(labels), threshold)])
    order = order[:, :TOP_K]
    return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(probabilities, order, axis=1)


def true_ranks(labels: Labels, values: Floats, truth: Labels, thresholds: Floats) -> npt.NDArray[np.int64]:
    """Compute the rank (Q, T) of the true label of each query at each threshold; 0 if it is not among five.

    `labels` and `values` (Q, K) are as in `rank`, `truth` (Q,) are the true labels. `thresholds` are (Q, T), or (1, T)
    for all queries.
    """
    same = labels == truth[:, None]
    position = np.where(same.any(axis=1), same.argmax(axis=1), TOP_K)[:, None]
    above = np.zeros((len(values), thresholds.shape[1]), dtype=np.int64)
    for column in values.T:
        above += column[:, None] > thresholds
    ranks = np.where((truth == NEW_WHALE)[:, None], above + 1, position + 1 + (position >= above))
    return np.where(ranks > TOP_K, 0, ranks)


def to_table(labels: Labels, values: Floats, fill: Sequence[str] = ()) -> pd.DataFrame:
    """Convert rankings to a table with the columns `LABELS` and `PROBABILITIES`.

    `labels` and `values` are (Q, K), where K is at most 5. Shorter rankings are completed with labels from `fill`, of
    probability 0, then with empty strings.
    """
    missing = TOP_K - labels.shape[1]
    rows = [[*row, *[label for label in fill if label not in row][:missing]] for row in labels.tolist()]
    padded = [row + [""] * (TOP_K - len(row)) for row in rows]
    table = pd.DataFrame(padded, columns=LABELS, dtype=object)
    return table.join(pd.DataFrame(np.pad(values, ((0, 0), (0, missing))), columns=PROBABILITIES))


def from_table(table: pd.DataFrame) -> tuple[Labels, Floats]:
    """Convert a table with the columns of `to_table` to labels and values, both (Q, 5)."""
    return table[LABELS].to_numpy(dtype=np.str_), table[PROBABILITIES].to_numpy(dtype=np.float64)


def at_threshold(answers: pd.DataFrame, threshold: float | None = None) -> pd.DataFrame:
    """Rank `answers` at a threshold: set their columns `threshold` and `rank`, as in `true_ranks`.

    Args:
        answers: with `truth`, the columns of `to_table` and, if they have probabilities, the `threshold` of their fold.
        threshold: in [0, 1], for all rows; None for the column `threshold`. If there is neither, `threshold` is NaN,
            and all whales with a probability above 0 rank before `new_whale`.
    """
    if threshold is not None or "threshold" not in answers:
        answers = answers.assign(threshold=np.nan if threshold is None else threshold)
    limits = answers["threshold"].fillna(0.0).to_numpy(dtype=np.float64)[:, None]
    ranks = true_ranks(*from_table(answers), answers["truth"].to_numpy(dtype=np.str_), limits)
    return answers.assign(rank=ranks[:, 0])


def rank_by_duplicates(duplicates: Sequence[Sequence[str]], fill: Sequence[str]) -> pd.DataFrame:
    """Rank the labels of the duplicates of each query, with probability 1, then `fill`, with probability 0.

    Labels after `new_whale` have probability 0 as well, so that `new_whale` keeps its rank among them. `duplicates`
    (Q,) are the labels of each query's duplicates, the closest first. Returns the columns of `to_table`.
    """
    labels, values = [], []
    for names in duplicates:
        certain = names[: names.index(NEW_WHALE)] if NEW_WHALE in names else names
        whales = [label for label in dict.fromkeys([*names, *fill]) if label != NEW_WHALE][:TOP_K]
        labels.append(whales + [""] * (TOP_K - len(whales)))
        values.append([float(label in certain) for label in labels[-1]])
    table = pd.DataFrame(labels, columns=LABELS, dtype=object)
    return table.join(pd.DataFrame(values, columns=PROBABILITIES, dtype=np.float64))
