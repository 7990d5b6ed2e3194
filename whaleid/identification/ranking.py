"""Five names a query: whales by probability, and `new_whale` at its threshold."""

import numpy as np
import numpy.typing as npt

from whaleid.core.labels import NEW_WHALE, PLACES


def leading(
    values: npt.NDArray[np.float32], whales: npt.NDArray[np.str_]
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    """Return the labels and values of the five best whales a query, both (Q, min(5, W)).

    `values` is (Q, W), the higher the better, `whales` (W,) their labels. The best come first, ties by label.
    """
    # argmax takes the first of equals, so in columns ordered by label it settles ties by label; five passes of
    # it cost far less than sorting thousands of columns
    order = np.argsort(whales)
    remaining = np.take(values, order, axis=1) if (np.diff(order) < 0).any() else values.copy()
    queries = np.arange(len(remaining))
    columns = np.empty((len(remaining), min(PLACES, len(whales))), dtype=np.int64)
    best = np.empty(columns.shape)
    for place in range(columns.shape[1]):
        there = remaining.argmax(axis=1)
        columns[:, place], best[:, place] = there, remaining[queries, there]
        remaining[queries, there] = -np.inf
    return whales[order][columns], best


def rank(
    labels: npt.NDArray[np.str_],
    values: npt.NDArray[np.float64],
    thresholds: float | npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    """Rank `new_whale` among the `leading` whales as if its probability were the threshold.

    `labels` and `values` (Q, K) are those of the best whales, in order; `thresholds` is one for all queries, or (Q,).

    Returns labels and probabilities, both (Q, min(5, K + 1)): whales above the threshold, `new_whale`, other whales.
    """
    limit = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (len(values),))[:, None]
    above = values > limit
    places = np.column_stack([np.arange(values.shape[1]) + ~above, above.sum(axis=1)]).argsort(axis=1)  # (Q, K + 1)
    everyone = np.column_stack([labels, np.full(len(labels), NEW_WHALE)])
    chances = np.column_stack([values, limit])
    ranked, likely = (np.take_along_axis(each, places, axis=1)[:, :PLACES] for each in (everyone, chances))
    return ranked, likely
