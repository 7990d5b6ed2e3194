"""Five names a query: whales by probability, and `new_whale` at its threshold."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from whaleid.labels import NEW_WHALE, PLACES


def leading(
    probabilities: npt.NDArray[np.float32], whales: npt.NDArray[np.str_]
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    """Return the labels and probabilities of the five best whales a query, both (Q, min(5, W)).

    `probabilities` is (Q, W), `whales` (W,) their labels. The most probable come first, ties by label.
    """
    # argmax takes the first of equals, so in columns ordered by label it settles ties by label; five passes of
    # it cost far less than sorting thousands of columns
    order = np.argsort(whales)
    remaining = np.take(probabilities, order, axis=1)
    queries = np.arange(len(remaining))
    columns = np.empty((len(remaining), min(PLACES, len(whales))), dtype=np.int64)
    values = np.empty(columns.shape)
    for place in range(columns.shape[1]):
        best = remaining.argmax(axis=1)
        columns[:, place], values[:, place] = best, remaining[queries, best]
        remaining[queries, best] = -np.inf
    return whales[order][columns], values


def rank(
    probabilities: npt.NDArray[np.float32], whales: npt.NDArray[np.str_], threshold: float
) -> npt.NDArray[np.str_]:
    """Rank `new_whale` as if its probability were `threshold`.

    `probabilities` is (Q, W), `whales` (W,) their labels, without `new_whale`, whose own probability is left out: it
    takes some away from the whales, and the threshold alone decides its rank.

    Returns (Q, min(5, W + 1)) distinct labels: whales above the threshold, `new_whale`, the other whales; whales
    by descending probability, ties by label.
    """
    labels, values = leading(probabilities, whales)
    above = values > threshold
    places = np.column_stack([np.arange(values.shape[1]) + ~above, above.sum(axis=1)])  # (Q, K + 1)
    everyone = np.column_stack([labels, np.full(len(labels), NEW_WHALE)])
    return np.take_along_axis(everyone, places.argsort(axis=1), axis=1)[:, :PLACES]


def filled(ranked: Sequence[Sequence[str]], fill: Sequence[str]) -> list[list[str]]:
    """Return the first five distinct labels a query: those of its ranking, then `fill`, which is for all queries."""
    return [list(dict.fromkeys([*labels, *fill]))[:PLACES] for labels in ranked]
