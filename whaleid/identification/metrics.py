"""MAP@5 with one true label a query."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from whaleid.core.labels import PLACES


def reciprocal_ranks(ranked: Sequence[Sequence[str]], truth: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return (Q,) float64: 1 / rank of the true label among a query's first five distinct labels, else 0."""
    found = np.zeros(len(truth))
    for query, (labels, true) in enumerate(zip(ranked, truth, strict=True)):
        counted = list(dict.fromkeys(labels))[:PLACES]
        if true in counted:
            found[query] = 1 / (counted.index(true) + 1)
    return found


def mean_average_precision(ranked: Sequence[Sequence[str]], truth: Sequence[str]) -> float:
    """Return MAP@5, which is the mean of `reciprocal_ranks` where each query has one true label."""
    return float(reciprocal_ranks(ranked, truth).mean())
