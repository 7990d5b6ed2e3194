"""The manifest: which photos of a catalogue are kept, why, and which labels conflict.

`photos` is a table with one row per photo, sorted by Image, with the index 0 to N - 1 and the columns Image, Id, part
(`train` or `test`), width, height, mode and sha256. `group` (N,) is the duplicate group of each photo, or -1.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whaleid.duplicates.groups import NO_GROUP
from whaleid.duplicates.hashing import Orientation

CONFLICT = "labels of its group differ"
"""The reason not to keep a labelled photo in conflict."""


def build_manifest(photos: pd.DataFrame, group: NDArray[np.intp], copies: pd.DataFrame) -> pd.DataFrame:
    """Return one row per photo: photo, part, Id, group, representative, keep, reason, distance, error.

    `copies` are pairs (see `pairs`) of a photo and the representative of its group. `keep` is false for copies, and for
    labelled photos whose group has several labels (a conflict): one picture cannot show two whales, and it is unknown
    which label is correct. `distance` and `error` compare a photo with its representative.
    """
    table = photos[["Image", "part", "Id"]].rename(columns={"Image": "photo"})
    table = table.assign(
        group=group,
        representative=photos["Image"],
        keep=True,
        reason=np.where(group == NO_GROUP, "no duplicate", "best of its group"),
        distance=0,
        error=0.0,
    )
    copy, original = copies["left"].to_numpy(), copies["right"].to_numpy()
    sha256 = photos["sha256"].to_numpy()
    table.loc[copy, "representative"] = photos["Image"].to_numpy()[original]
    table.loc[copy, "keep"] = False
    table.loc[copy, "reason"] = [
        "same file" if same else "copy" if code == Orientation.UPRIGHT else f"{Orientation(code).name.lower()} copy"
        for same, code in zip(sha256[copy] == sha256[original], copies["orientation"], strict=True)
    ]
    for column in ("distance", "error"):
        table.loc[copy, column] = copies[column].to_numpy()
    labelled = table[(table["part"] == "train") & (group != NO_GROUP)]
    conflict = labelled.index[labelled.groupby("group")["Id"].transform("nunique") > 1]
    table.loc[conflict, "keep"] = False
    table.loc[conflict, "reason"] = CONFLICT
    return table


def members(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the photos of all duplicate groups, with the columns group, Image, part and Id."""
    grouped = manifest[manifest["group"] != NO_GROUP].rename(columns={"photo": "Image"})
    return grouped.sort_values(["group", "Image"], ignore_index=True)[["group", "Image", "part", "Id"]]


def conflicts(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the photos in conflict, with the columns group, Image, Id and labels (all labels of the group)."""
    rows = members(manifest[manifest["reason"] == CONFLICT])
    labels = rows.groupby("group")["Id"].agg(lambda ids: " ".join(sorted({*ids})))
    return rows.assign(labels=rows["group"].map(labels))[["group", "Image", "Id", "labels"]]


def unique(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the labelled photos that are kept, with the columns Image and Id."""
    kept = manifest[manifest["keep"] & (manifest["part"] == "train")]
    return kept[["photo", "Id"]].rename(columns={"photo": "Image"})
