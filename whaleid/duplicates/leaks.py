"""Leaks: queries that duplicate a labelled photo, and how far to trust its label. `photos` is as in `manifest`."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from whaleid.duplicates.groups import ALONE
from whaleid.duplicates.pairs import Rows


def leak_rows(photos: pd.DataFrame, group: NDArray[np.intp]) -> Rows:
    """Return the rows in `photos` of each query and each labelled photo of its `group` (N,), (L, 2).

    Labelled photos of conflicts are included: their labels are all that is known of the query.
    """
    rows = photos[["part"]].assign(row=np.arange(len(photos)), group=group)[group != ALONE]
    queries, labelled = rows[rows["part"] == "test"], rows[rows["part"] == "train"]
    both = queries.merge(labelled, on="group", suffixes=("_query", "_photo"))
    pairs: Rows = both[["row_query", "row_photo"]].to_numpy(dtype=np.intp)
    return pairs


def leaks(photos: pd.DataFrame, pairs: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """Return query, photo, Id, distance, error, confidence of `pairs`, each query with each labelled duplicate.

    Rows are sorted by query, closest first. `confidence`, from 0 to 1, is how far to trust that the query has this
    label: how often labelled photos with such an error to their representative have its label (`copies` are these
    pairs; an isotonic regression), times the share of the query's duplicates with the same label.
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
    trust = _agreement(labelled["error"].to_numpy(), agree, table["error"].to_numpy())
    same = table.groupby(["query", "Id"])["photo"].transform("size") / table.groupby("query")["photo"].transform("size")
    table["confidence"] = trust * same.to_numpy()
    return table.sort_values(["query", "distance", "error", "photo"], ignore_index=True)


def _agreement(errors: NDArray[np.float64], agree: NDArray[np.bool_], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (A,) how often the labels of photos with the errors `at` (A,) agree: the less, the larger the error.

    `agree` (P,) is whether those of pairs with `errors` (P,) do. Each step of the isotonic regression is counted with
    one pair more that agrees, and one that does not (Laplace's rule of succession).
    """
    if not len(errors):
        return np.full(len(at), 0.5)
    error, step = np.unique(errors, return_inverse=True)
    pairs = np.bincount(step)
    fit = isotonic_regression(np.bincount(step, agree) / pairs, weights=pairs, increasing=False)
    steps = (fit.x[fit.blocks[:-1]] * fit.weights + 1) / (fit.weights + 2)
    shares: NDArray[np.float64] = steps[np.searchsorted(error[fit.blocks[1:-1]], at, side="right")]
    return shares
