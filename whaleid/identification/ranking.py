"""Five labels a query: whales by probability and `new_whale` at its threshold; the table that holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE, TOP_K

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.str_]
LABELS = [f"label{place}" for place in range(1, TOP_K + 1)]
PROBABILITIES = [f"probability{place}" for place in range(1, TOP_K + 1)]


def top_k(values: npt.NDArray[np.float32], whales: Labels) -> tuple[Labels, Floats]:
    """Return the labels and values of the five best whales a query, both (Q, min(5, W)).

    `values` is (Q, W), the higher the better, `whales` (W,) their labels, sorted. The best come first, ties by label.
    """
    # argmax returns the first of equals, which breaks ties by label; five passes of it cost far less than sorting
    # thousands of columns
    remaining, queries = values.copy(), np.arange(len(values))
    columns = np.empty((len(remaining), min(TOP_K, len(whales))), dtype=np.int64)
    best = np.empty(columns.shape)
    for place in range(columns.shape[1]):
        column = remaining.argmax(axis=1)
        columns[:, place], best[:, place] = column, remaining[queries, column]
        remaining[queries, column] = -np.inf
    return whales[columns], best


def rank(labels: Labels, values: Floats, threshold: float) -> tuple[Labels, Floats]:
    """Rank `new_whale` among the `top_k` whales as if its probability were the threshold.

    `labels` and `values` (Q, K) are those of the best whales, in order. Returns labels and probabilities, both
    (Q, min(5, K + 1)): whales above the threshold, `new_whale`, other whales.
    """
    above = values > threshold
    places = np.column_stack([np.arange(values.shape[1]) + ~above, above.sum(axis=1)]).argsort(axis=1)  # (Q, K + 1)
    candidates = np.column_stack([labels, np.full(len(labels), NEW_WHALE)])
    probabilities = np.column_stack([values, np.full(len(labels), threshold)])
    places = places[:, :TOP_K]
    return np.take_along_axis(candidates, places, axis=1), np.take_along_axis(probabilities, places, axis=1)


def true_ranks(labels: Labels, values: Floats, truth: Labels, thresholds: Floats) -> npt.NDArray[np.int64]:
    """Return (Q, T) the rank of the true label of each query at each threshold, from 1; 0 beyond five.

    `labels` and `values` (Q, K) are those of the best whales, in order; `truth` is (Q,); `thresholds` are (Q, T), or
    (1, T) for all queries: ranks are those of `rank`.
    """
    same = labels == truth[:, None]
    place = np.where(same.any(axis=1), same.argmax(axis=1), TOP_K)[:, None]
    above = np.zeros((len(values), thresholds.shape[1]), dtype=np.int64)
    for column in values.T:
        above += column[:, None] > thresholds
    ranks = np.where((truth == NEW_WHALE)[:, None], above + 1, place + 1 + (place >= above))
    return np.where(ranks > TOP_K, 0, ranks)


def to_table(labels: Labels, values: Floats, fill: Sequence[str] = ()) -> pd.DataFrame:
    """Return labels and their values, both (Q, K), K at most 5, in ten columns.

    Beyond K there are other labels of `fill` with the value 0, or empty strings where these are too few.
    """
    missing = TOP_K - labels.shape[1]
    rows = [[*row, *[each for each in fill if each not in row][:missing]] for row in labels.tolist()]
    padded = [row + [""] * (TOP_K - len(row)) for row in rows]
    table = pd.DataFrame(padded, columns=LABELS, dtype=object)
    return table.join(pd.DataFrame(np.pad(values, ((0, 0), (0, missing))), columns=PROBABILITIES))


def from_table(table: pd.DataFrame) -> tuple[Labels, Floats]:
    """Return the labels and values, both (Q, 5), of a table that `to_table` laid out."""
    return table[LABELS].to_numpy(dtype=np.str_), table[PROBABILITIES].to_numpy(dtype=np.float64)


def at_threshold(answers: pd.DataFrame, threshold: float | None = None) -> pd.DataFrame:
    """Return `answers` with `threshold` and `rank`, that of the truth, 0 beyond five.

    `answers` has `truth`, the columns of `to_table` and, if a network gave them, `threshold`: that of each row's fold.
    A `threshold` in [0, 1] replaces it in all rows. Without either, every whale of a probability above 0 comes before
    `new_whale`, and the column is NaN.
    """
    if threshold is not None or "threshold" not in answers:
        answers = answers.assign(threshold=np.nan if threshold is None else threshold)
    limits = answers["threshold"].fillna(0.0).to_numpy(dtype=np.float64)[:, None]
    ranks = true_ranks(*from_table(answers), answers["truth"].to_numpy(dtype=np.str_), limits)
    return answers.assign(rank=ranks[:, 0])


def rank_by_duplicates(duplicates: Sequence[Sequence[str]], fill: Sequence[str]) -> pd.DataFrame:
    """Return the columns of `to_table`: the labels of each query's duplicates, of probability 1, then `fill`, of 0.

    Labels behind `new_whale` have 0 as well, so that it keeps its place among them.
    """
    labels, values = [], []
    for names in duplicates:
        certain = names[: names.index(NEW_WHALE)] if NEW_WHALE in names else names
        whales = [label for label in dict.fromkeys([*names, *fill]) if label != NEW_WHALE][:TOP_K]
        labels.append(whales + [""] * (TOP_K - len(whales)))
        values.append([float(label in certain) for label in labels[-1]])
    table = pd.DataFrame(labels, columns=LABELS, dtype=object)
    return table.join(pd.DataFrame(values, columns=PROBABILITIES, dtype=np.float64))
