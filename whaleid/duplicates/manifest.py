"""What duplicates mean for a catalogue: which photos are kept and why, conflicts, leaks.

`photos` is a table with a row a photo, sorted by Image and numbered from 0: Image, Id, part (`train` or `test`), width,
height, mode, sha256. `group` (N,) is the number of each photo's group, -1 where it has no duplicate.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from whaleid.duplicates.groups import ALONE
from whaleid.duplicates.hashing import Orientation
from whaleid.duplicates.matching import Matches


def manifest(photos: pd.DataFrame, group: NDArray[np.intp], copies: Matches) -> pd.DataFrame:
    """Return a row for each photo: photo, part, Id, group, representative, keep, reason, distance, error.

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
    labelled = photos.assign(group=group)[(photos["part"] == "train") & (group != ALONE)]
    conflict = labelled.index[labelled.groupby("group")["Id"].transform("nunique") > 1]
    reason[conflict] = "labels of its group differ"
    keep = representative == np.arange(len(photos))
    keep[conflict] = False
    return pd.DataFrame(
        {
            "photo": photos["Image"],
            "part": photos["part"],
            "Id": photos["Id"],
            "group": group,
            "representative": photos["Image"].to_numpy()[representative],
            "keep": keep,
            "reason": reason,
            "distance": distance,
            "error": error,
        }
    )


def members(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return group, Image, part, Id of every photo of every group of `manifest`."""
    grouped = manifest[manifest["group"] != ALONE].rename(columns={"photo": "Image"})
    return grouped.sort_values(["group", "Image"], ignore_index=True)[["group", "Image", "part", "Id"]]


def conflicts(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return group, Image, Id, labels of the labelled photos whose group has several labels: these, space between."""
    labelled = members(manifest[manifest["part"] == "train"])
    labels = labelled.groupby("group")["Id"].agg(lambda ids: " ".join(sorted(set(ids))))
    labelled["labels"] = labelled["group"].map(labels).astype(str)
    return labelled[labelled["labels"].str.contains(" ")].drop(columns="part").reset_index(drop=True)


def unique(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return Image, Id of the labelled photos that are kept: one a group, none of a conflict, sorted by Image."""
    kept = manifest[manifest["keep"] & (manifest["part"] == "train")].rename(columns={"photo": "Image"})
    return kept[["Image", "Id"]].sort_values("Image", ignore_index=True)


def leaks(photos: pd.DataFrame, matches: Matches, copies: Matches) -> pd.DataFrame:
    """Return query, photo, Id, distance, error, confidence of `matches`, each query with each labelled duplicate.

    Rows are sorted by query, closest first. `confidence`, from 0 to 1, is how far to trust that the query has this
    label: how often labelled photos with such an error to their representative have its label (`copies` are these
    pairs; an isotonic regression), times the share of the query's duplicates with the same label.
    """
    query, photo = matches.pairs.T
    labels = photos["Id"].to_numpy(dtype=np.str_)
    table = pd.DataFrame(
        {
            "query": photos["Image"].to_numpy()[query],
            "photo": photos["Image"].to_numpy()[photo],
            "Id": labels[photo],
            "distance": matches.distance,
            "error": matches.error,
        }
    )
    train = (photos["part"] == "train").to_numpy()
    labelled = copies[np.flatnonzero(train[copies.pairs].all(axis=1))]
    agree = labels[labelled.pairs[:, 0]] == labels[labelled.pairs[:, 1]]
    trust = _agreement(labelled.error, agree, matches.error)
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
