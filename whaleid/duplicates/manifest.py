"""What duplicates mean for a catalogue: which photos are kept and why, conflicts, leaks.

`photos` is a table with a row a photo, sorted by Image and numbered from 0: Image, Id, part (`train` or `test`), width,
height, mode, sha256. `group` (N,) is the number of each photo's group, -1 where it has no duplicate.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from whaleid.duplicates.grouping import ALONE
from whaleid.duplicates.hashing import Orientation
from whaleid.duplicates.matching import Compared, Pairs

GREY = ("1", "L", "LA", "I", "I;16", "F")
"""Modes without colour."""


def rank(photos: pd.DataFrame) -> NDArray[np.intp]:
    """Return the place (N,) of each photo among those that may stand for a group, the best being 0.

    Labelled photos come first, then those with most pixels, with colour, and with the first name.
    """
    keys = photos.assign(
        query=photos["part"] == "test", fewer=-photos["width"] * photos["height"], grey=photos["mode"].isin(GREY)
    )
    order = keys.sort_values(["query", "fewer", "grey", "Image"]).index
    return np.argsort(order)


def manifest(photos: pd.DataFrame, group: NDArray[np.intp], copies: Compared) -> pd.DataFrame:
    """Return what becomes of each photo: photo, part, Id, group, representative, keep, reason, distance, error.

    `copies` are pairs of a photo and its representative. `keep` is false for copies, and for the labelled photos of a
    group whose labels differ: one picture cannot show two whales, and nothing tells which label is right. `distance`
    and `error` are those to the representative.
    """
    copy, original = copies.pairs.T
    representative, distance, error = np.arange(len(photos)), np.zeros(len(photos), np.int64), np.zeros(len(photos))
    representative[copy], distance[copy], error[copy] = original, copies.distance, copies.error
    reason = np.where(group == ALONE, "no duplicate", "best of its group").astype(object)
    sha256 = photos["sha256"].to_numpy(dtype=np.str_)
    reason[copy] = [
        "same file" if same else "copy" if way == Orientation.UPRIGHT else f"{Orientation(way).name.lower()} copy"
        for same, way in zip(sha256[copy] == sha256[original], copies.orientation, strict=True)
    ]
    torn = _conflicting(photos, group)
    reason[torn] = "labels of its group differ"
    return pd.DataFrame(
        {
            "photo": photos["Image"],
            "part": photos["part"],
            "Id": photos["Id"],
            "group": group,
            "representative": photos["Image"].to_numpy()[representative],
            "keep": (representative == np.arange(len(photos))) & ~torn,
            "reason": reason,
            "distance": distance,
            "error": error,
        }
    )


def _conflicting(photos: pd.DataFrame, group: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return (N,) which labelled photos are in a group with several labels; `new_whale` is a label like any other."""
    labelled = photos.assign(group=group)[(photos["part"] == "train") & (group != ALONE)]
    several = labelled.groupby("group")["Id"].transform("nunique") > 1
    found = np.zeros(len(photos), dtype=bool)
    found[labelled.index[several]] = True
    return found


def grouped(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return group, Image, part, Id of every photo of every group of `manifest`."""
    members = manifest[manifest["group"] != ALONE].rename(columns={"photo": "Image"})
    return members.sort_values(["group", "Image"], ignore_index=True)[["group", "Image", "part", "Id"]]


def conflicts(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return group, Image, Id, labels of the labelled photos whose group has several labels: these, space between."""
    labelled = grouped(manifest[manifest["part"] == "train"])
    labels = labelled.groupby("group")["Id"].agg(lambda ids: " ".join(sorted(set(ids))))
    labelled["labels"] = labelled["group"].map(labels).astype(str)
    return labelled[labelled["labels"].str.contains(" ")].drop(columns="part").reset_index(drop=True)


def unique(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return Image, Id of the labelled photos that are kept: one a group, none of a conflict, sorted by Image."""
    kept = manifest[manifest["keep"] & (manifest["part"] == "train")].rename(columns={"photo": "Image"})
    return kept[["Image", "Id"]].sort_values("Image", ignore_index=True)


def leaking(photos: pd.DataFrame, group: NDArray[np.intp]) -> Pairs:
    """Return the rows in `photos` of each query and each labelled photo of its group, shape (L, 2).

    Labelled photos of conflicts are among them: what they say about the query is all there is.
    """
    members = photos[["part"]].assign(row=np.arange(len(photos)), group=group)[group != ALONE]
    queries, labelled = members[members["part"] == "test"], members[members["part"] == "train"]
    both = queries.merge(labelled, on="group", suffixes=("_query", "_photo"))
    found: Pairs = both[["row_query", "row_photo"]].to_numpy(dtype=np.intp)
    return found


def leaks(photos: pd.DataFrame, found: Compared, copies: Compared) -> pd.DataFrame:
    """Return query, photo, Id, distance, error, confidence of the pairs of `leaking`, closest first within a query.

    `confidence`, from 0 to 1, is how far to trust that the query has this label: how often labelled photos with such an
    error to their representative have its label (`copies` are these pairs; an isotonic regression), times the share of
    the query's duplicates that say the same.
    """
    query, photo = found.pairs.T
    labels = photos["Id"].to_numpy(dtype=np.str_)
    table = pd.DataFrame(
        {
            "query": photos["Image"].to_numpy()[query],
            "photo": photos["Image"].to_numpy()[photo],
            "Id": labels[photo],
            "distance": found.distance,
            "error": found.error,
        }
    )
    train = (photos["part"] == "train").to_numpy()
    labelled = copies[np.flatnonzero(train[copies.pairs].all(axis=1))]
    agree = labels[labelled.pairs[:, 0]] == labels[labelled.pairs[:, 1]]
    trust = _agreement(labelled.error, agree, found.error)
    said = table.groupby(["query", "Id"])["photo"].transform("size") / table.groupby("query")["photo"].transform("size")
    table["confidence"] = trust * said.to_numpy()
    return table.sort_values(["query", "distance", "error", "photo"], ignore_index=True)


def _agreement(
    errors: NDArray[np.float64], agree: NDArray[np.bool_], asked: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (A,) how often photos agree that are as near as `asked` (A,): less often, the farther they are.

    `agree` (P,) tells it of pairs with `errors` (P,). Each step of the isotonic regression is taken with one pair more
    that agrees, and one that does not (Laplace's rule of succession).
    """
    if not len(errors):
        return np.full(len(asked), 0.5)
    near, of = np.unique(errors, return_inverse=True)
    pairs = np.bincount(of)
    fit = isotonic_regression(np.bincount(of, agree) / pairs, weights=pairs, increasing=False)
    steps = (fit.x[fit.blocks[:-1]] * fit.weights + 1) / (fit.weights + 2)
    found: NDArray[np.float64] = steps[np.searchsorted(near[fit.blocks[1:-1]], asked, side="right")]
    return found
