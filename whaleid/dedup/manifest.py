"""What duplicates mean for the catalogue: groups, conflicts, the unique training subset, leaks.

`photos` is a table with a row a photo: Image, Id, part, width, height, bytes, and `group`, -1 where there is
no duplicate.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def grouped(photos: pd.DataFrame) -> pd.DataFrame:
    """Return group, Image, part, Id of every photo of every group."""
    members = photos[photos["group"] >= 0].sort_values(["group", "Image"], ignore_index=True)
    return members[["group", "Image", "part", "Id"]]


def conflicts(photos: pd.DataFrame) -> pd.DataFrame:
    """Return group, Image, Id of all labelled photos of the groups whose labels differ.

    One picture cannot show two whales, and nothing tells which label is right: none of them is trained on.
    `new_whale` is a label like any other.
    """
    members = grouped(photos[photos["part"] == "train"])
    labels = members.groupby("group")["Id"].transform("nunique")
    return members.loc[labels > 1, ["group", "Image", "Id"]].reset_index(drop=True)


def unique(photos: pd.DataFrame) -> pd.DataFrame:
    """Return Image, Id of the training photos without conflict, one a group, sorted by Image.

    A group is represented by its photo with most pixels, then most bytes, then the first name.
    """
    train = photos[(photos["part"] == "train") & ~photos["Image"].isin(conflicts(photos)["Image"])]
    best_first = train.assign(pixels=train["width"] * train["height"]).sort_values(
        ["pixels", "bytes", "Image"], ascending=[False, False, True]
    )
    spare = best_first["group"].duplicated() & (best_first["group"] >= 0)
    return best_first.loc[~spare, ["Image", "Id"]].sort_values("Image", ignore_index=True)


def leaking(photos: pd.DataFrame) -> NDArray[np.intp]:
    """Return the positions in `photos` of each query and each labelled photo of its group, shape (L, 2).

    Labelled photos of conflicts are among them: what they say about the query is all there is.
    """
    members = photos.assign(position=np.arange(len(photos)))[photos["group"] >= 0]
    queries, labelled = members[members["part"] == "test"], members[members["part"] == "train"]
    both = queries.merge(labelled, on="group", suffixes=("_query", "_photo"))
    return both[["position_query", "position_photo"]].to_numpy(dtype=np.intp)


def leaks(
    photos: pd.DataFrame,
    pairs: NDArray[np.intp],
    distances: NDArray[np.uint8],
    errors: NDArray[np.float64],
) -> pd.DataFrame:
    """Return query, photo, Id, distance, error of the `pairs` of `leaking`, closest first within a query.

    `distances` (bits of 64) and `errors` (mean squared error of thumbnails) have shape (L,).
    """
    labelled = photos.iloc[pairs[:, 1]]
    found = pd.DataFrame(
        {
            "query": photos["Image"].to_numpy()[pairs[:, 0]],
            "photo": labelled["Image"].to_numpy(),
            "Id": labelled["Id"].to_numpy(),
            "distance": distances,
            "error": errors,
        }
    )
    return found.sort_values(["query", "distance", "error", "photo"], ignore_index=True)
