"""Leaks: queries that duplicate a labelled photo, and the confidence in its label.

`photos` and `group` are described in `manifest`, tables of pairs in `pairs`.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from whaleid.duplicates.groups import NO_GROUP
from whaleid.duplicates.pairs import RowPairs


def leak_pairs(photos: pd.DataFrame, group: NDArray[np.intp]) -> RowPairs:
    """Return the rows (L, 2) of each query and each labelled photo in the same `group` (N,).

    Labelled photos in conflict are included, since their labels are the only information about the query.
    """
    rows = photos[["part"]].assign(row=np.arange(len(photos)), group=group)[group != NO_GROUP]
    queries, labelled = rows[rows["part"] == "test"], rows[rows["part"] == "train"]
    merged = queries.merge(labelled, on="group", suffixes=("_query", "_photo"))
    pairs: RowPairs = merged[["row_query", "row_photo"]].to_numpy(dtype=np.intp)
    return pairs


def leak_table(photos: pd.DataFrame, pairs: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """Build the table of leaks, with the confidence in each label.

    The confidence is the product of two factors. The first is the estimated probability that photos with this error
    have the same label: an isotonic regression on the labelled photos in `copies`. The second is the share of the
    query's labelled duplicates that have this label.

    `pairs` are a query (left) and a labelled duplicate (right), `copies` a photo and the representative of its group.
    Returns one row per pair, sorted by query and distance, with the columns query, photo, Id, distance, error and
    confidence (0 to 1).
    """
    images, labels = photos["Image"].to_numpy(), photos["Id"].to_numpy()
    table = pd.DataFrame(
        {
            "query": images[pairs["left"]],
            "photo": images[pairs["right"]],
            "Id": labels[pairs["right"]],
            "distance": pairs["distance"].to_numpy(),
            "error": pairs["error"].to_numpy(),
        }
    )
    train = (photos["part"] == "train").to_numpy()
    labelled = copies[train[copies["left"]] & train[copies["right"]]]
    agree = labels[labelled["left"]] == labels[labelled["right"]]
    agreement = _label_agreement(labelled["error"].to_numpy(), agree, table["error"].to_numpy())
    with_label, duplicates = (table.groupby(by)["photo"].transform("size") for by in (["query", "Id"], "query"))
    table["confidence"] = agreement * (with_label / duplicates).to_numpy()
    return table.sort_values(["query", "distance", "error", "photo"], ignore_index=True)


def _label_agreement(
    errors: NDArray[np.float64], agree: NDArray[np.bool_], new_errors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Estimate the probability (A,) that the labels of pairs with `new_errors` (A,) agree.

    Fits a decreasing isotonic regression of label agreement, `agree` (P,), on `errors` (P,). Each step is smoothed with
    one additional pair that agrees and one that does not (Laplace's rule of succession).
    """
    if not len(errors):
        return np.full(len(new_errors), 0.5)
    error, row = np.unique(errors, return_inverse=True)
    pairs = np.bincount(row)
    fit = isotonic_regression(np.bincount(row, agree) / pairs, weights=pairs, increasing=False)
    steps = (fit.x[fit.blocks[:-1]] * fit.weights + 1) / (fit.weights + 2)
    probabilities: NDArray[np.float64] = steps[np.searchsorted(error[fit.blocks[1:-1]], new_errors, side="right")]
    return probabilities
