"""Five labels a query: whales by probability and `new_whale` at its threshold; the table that holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE, PLACES

Floats = npt.NDArray[np.float64]
LABELS = [f"label{place}" for place in range(1, PLACES + 1)]
PROBABILITIES = [f"probability{place}" for place in range(1, PLACES + 1)]


def leading(values: npt.NDArray[np.float32], whales: npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.str_], Floats]:
    """Return the labels and values of the five best whales a query, both (Q, min(5, W)).

    `values` is (Q, W), the higher the better, `whales` (W,) their labels, sorted. The best come first, ties by label.
    """
    # argmax returns the first of equals, which breaks ties by label; five passes of it cost far less than sorting
    # thousands of columns
    remaining, queries = values.copy(), np.arange(len(values))
    columns = np.empty((len(remaining), min(PLACES, len(whales))), dtype=np.int64)
    best = np.empty(columns.shape)
    for place in range(columns.shape[1]):
        column = remaining.argmax(axis=1)
        columns[:, place], best[:, place] = column, remaining[queries, column]
        remaining[queries, column] = -np.inf
    return whales[columns], best


def rank(
    labels: npt.NDArray[np.str_], values: Floats, thresholds: float | Floats
) -> tuple[npt.NDArray[np.str_], Floats]:
    """Rank `new_whale` among the `leading` whales as if its probability were the threshold.

    `labels` and `values` (Q, K) are those of the best whales, in order; `thresholds` is one for all queries, or (Q,).

    Returns labels and probabilities, both (Q, min(5, K + 1)): whales above the threshold, `new_whale`, other whales.
    """
    limit = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (len(values),))[:, None]
    above = values > limit
    places = np.column_stack([np.arange(values.shape[1]) + ~above, above.sum(axis=1)]).argsort(axis=1)  # (Q, K + 1)
    candidates = np.column_stack([labels, np.full(len(labels), NEW_WHALE)])
    chances = np.column_stack([values, limit])
    ranked, probabilities = (np.take_along_axis(each, places, axis=1)[:, :PLACES] for each in (candidates, chances))
    return ranked, probabilities


def true_ranks(
    labels: npt.NDArray[np.str_], values: Floats, truth: npt.NDArray[np.str_], thresholds: Floats
) -> npt.NDArray[np.int64]:
    """Return (Q, T) the rank of the true label of each query at each threshold, from 1; 0 beyond five.

    `labels` and `values` (Q, K) are those of the best whales, in order; `truth` is (Q,); `thresholds` are (Q, T), or
    (1, T) for all queries: ranks are those of `rank`.
    """
    same = labels == truth[:, None]
    place = np.where(same.any(axis=1), same.argmax(axis=1), PLACES)[:, None]
    above = np.zeros((len(values), thresholds.shape[1]), dtype=np.int64)
    for column in values.T:
        above += column[:, None] > thresholds
    ranks = np.where((truth == NEW_WHALE)[:, None], above + 1, place + 1 + (place >= above))
    return np.where(ranks > PLACES, 0, ranks)


def to_table(labels: npt.NDArray[np.str_], values: Floats, fill: Sequence[str] = ()) -> pd.DataFrame:
    """Return labels and their values, both (Q, K), K at most 5, in ten columns.

    Beyond K there are other labels of `fill` with the value 0, or empty strings where these are too few.
    """
    missing = PLACES - labels.shape[1]
    rows = [row + [each for each in fill if each not in row][:missing] for row in labels.tolist()]
    padded = [row + [""] * (PLACES - len(row)) for row in rows]
    table = pd.DataFrame(padded, columns=LABELS, dtype=object)
    return table.join(pd.DataFrame(np.pad(values, ((0, 0), (0, missing))), columns=PROBABILITIES))


def from_table(table: pd.DataFrame) -> tuple[npt.NDArray[np.str_], Floats]:
    """Return the labels and values, both (Q, 5), of a table that `to_table` laid out."""
    return table[LABELS].to_numpy(dtype=np.str_), table[PROBABILITIES].to_numpy(dtype=np.float64)


def at_threshold(answers: pd.DataFrame, thresholds: float | Floats) -> pd.DataFrame:
    """Return `answers` with `threshold`, one for all or (Q,), and `rank`, that of the truth: 0 beyond five.

    `answers` has `truth` and the columns of `to_table`.
    """
    limits = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (len(answers),))[:, None]
    ranks = true_ranks(*from_table(answers), answers["truth"].to_numpy(dtype=np.str_), limits)
    return answers.assign(threshold=thresholds, rank=ranks[:, 0])


def by_duplicates(duplicates: Sequence[Sequence[str]], fill: Sequence[str]) -> pd.DataFrame:
    """Return the columns of `to_table`: the labels of each query's duplicates, of probability 1, then `fill`, of 0.

    Labels behind `new_whale` have 0 as well, so that it keeps its place among them.
    """
    labels, values = [], []
    for names in duplicates:
        distinct = [*dict.fromkeys(names)]
        certain = distinct.index(NEW_WHALE) if NEW_WHALE in distinct else len(distinct)
        whales = [label for label in dict.fromkeys([*distinct, *fill]) if label != NEW_WHALE][:PLACES]
        labels.append(whales + [""] * (PLACES - len(whales)))
        values.append([float(place < certain) for place in range(PLACES)])
    shape = len(labels), PLACES
    return to_table(np.array(labels, dtype=np.str_).reshape(shape), np.array(values).reshape(shape))
