"""What becomes of each photo of a catalogue: which are kept and why, and which labels conflict.

`photos` is a table with a row a photo, sorted by Image and numbered from 0: Image, Id, part (`train` or `test`), width,
height, mode, sha256. `group` (N,) is the number of each photo's group, -1 where it has no duplicate.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whaleid.duplicates.groups import ALONE
from whaleid.duplicates.hashing import Orientation

CONFLICT = "labels of its group differ"


def manifest(photos: pd.DataFrame, group: NDArray[np.intp], copies: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each photo: photo, part, Id, group, representative, keep, reason, distance, error.

    `copies` are pairs of a photo and its representative. `keep` is false for copies, and for the labelled photos of a
    group whose labels differ: one picture cannot show two whales, and nothing tells which label is right. `distance`
    and `error` are those to the representative.
    """
    table = photos[["Image", "part", "Id"]].rename(columns={"Image": "photo"})
    table = table.assign(
        group=group,
        representative=photos["Image"],
        keep=True,
        reason=np.where(group == ALONE, "no duplicate", "best of its group"),
        distance=0,
        error=0.0,
    )
    copy, original = copies["left"].to_numpy(), copies["right"].to_numpy()
    sha256 = photos["sha256"].to_numpy()
    table.loc[copy, "representative"] = photos["Image"].to_numpy()[original]
    table.loc[copy, "keep"] = False
    table.loc[copy, "reason"] = [
        "same file" if same else "copy" if way == Orientation.UPRIGHT else f"{Orientation(way).name.lower()} copy"
        for same, way in zip(sha256[copy] == sha256[original], copies["orientation"], strict=True)
    ]
    for name in ("distance", "error"):
        table.loc[copy, name] = copies[name].to_numpy()
    labelled = table[(table["part"] == "train") & (group != ALONE)]
    conflict = labelled.index[labelled.groupby("group")["Id"].transform("nunique") > 1]
    table.loc[conflict, "keep"] = False
    table.loc[conflict, "reason"] = CONFLICT
    return table


def members(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return group, Image, part, Id of every photo of every group of `manifest`."""
    grouped = manifest[manifest["group"] != ALONE].rename(columns={"photo": "Image"})
    return grouped.sort_values(["group", "Image"], ignore_index=True)[["group", "Image", "part", "Id"]]


def conflicts(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return group, Image, Id, labels of the labelled photos whose group has several labels: these, space between."""
    rows = members(manifest[manifest["reason"] == CONFLICT])
    labels = rows.groupby("group")["Id"].agg(lambda ids: " ".join(sorted({*ids})))
    return rows.assign(labels=rows["group"].map(labels))[["group", "Image", "Id", "labels"]]


def unique(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return Image, Id of the labelled photos that are kept: one a group, none of a conflict."""
    kept = manifest[manifest["keep"] & (manifest["part"] == "train")]
    return kept[["photo", "Id"]].rename(columns={"photo": "Image"})
