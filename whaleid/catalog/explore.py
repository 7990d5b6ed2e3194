"""Describe a catalogue: the distribution of its photos over whales, sizes and modes.

The argument `catalog` has one row per photo, with the columns of `paths.CATALOG`, in any order.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE


def photos_per_whale(catalog: pd.DataFrame) -> pd.DataFrame:
    """Count the photos of each whale, without `new_whale`: `Id,photos`, sorted by decreasing photos, then by Id."""
    named = catalog[(catalog["part"] == "train") & (catalog["Id"] != NEW_WHALE)]
    return _count(named, ["Id"]).sort_values(["photos", "Id"], ascending=[False, True], ignore_index=True)


def tables(catalog: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return tables of counts by name.

    - `photos_per_whale`: `Id,photos`
    - `whales_by_photos`: `photos,whales`, the number of whales with that many photos
    - `sizes`: `part,width,height,photos`, in pixels
    - `modes`: `part,mode,photos`, with Pillow's names of modes (`L` is grey)
    """
    whales = photos_per_whale(catalog)
    return {
        "photos_per_whale": whales,
        "whales_by_photos": whales.groupby("photos").size().reset_index(name="whales"),
        "sizes": _count(catalog, ["part", "width", "height"]),
        "modes": _count(catalog, ["part", "mode"]),
    }


def example_photos(catalog: pd.DataFrame, whales: int, photos: int) -> pd.DataFrame:
    """Select photos of the `whales` whales with the most photos; return `Image,Id`.

    Each whale has the same number of rows: `photos`, or fewer if one of these whales has fewer.
    """
    counts = photos_per_whale(catalog).head(whales)
    rank = dict(zip(counts["Id"], counts.index, strict=True))
    images = catalog[catalog["Id"].isin(rank)].sort_values("Image")
    images = images.groupby("Id").head(min(photos, counts["photos"].min()))
    return images.sort_values("Id", key=lambda ids: ids.map(rank), kind="stable")[["Image", "Id"]]


def summary(catalog: pd.DataFrame) -> dict[str, float]:
    """Compute summary statistics by name.

    `labelled` and `queries` are numbers of photos, `whales` a number of whales. `single_photo_share` is a fraction of
    the whales, `new_whale_share` one of the labelled photos. The others describe the number of photos per whale:
    maximum, mean, median, the share of all photos that the 10 % of whales with the most photos have, and `gini`.

    Raises:
        WhaleidError: no photo is labelled with a whale other than `new_whale`.
    """
    photos = photos_per_whale(catalog)["photos"].to_numpy()
    labelled = int((catalog["part"] == "train").sum())
    if len(photos) == 0:
        raise WhaleidError(
            f"All {labelled} labelled photos have the label {NEW_WHALE}: label photos of known whales in train.csv."
        )
    return {
        "labelled": labelled,
        "queries": len(catalog) - labelled,
        "whales": len(photos),
        "single_photo_share": float((photos == 1).mean()),
        "new_whale_share": 1 - int(photos.sum()) / labelled,
        "most_photos": int(photos.max()),
        "mean_photos": float(photos.mean()),
        "median_photos": float(np.median(photos)),
        "top_tenth_share": float(photos[: -(-len(photos) // 10)].sum() / photos.sum()),
        "gini": gini(photos),
    }


def gini(counts: ArrayLike) -> float:
    """Compute the Gini coefficient of `counts`, not all 0: 0 if all are equal, close to 1 if one dominates.

    It is the mean absolute difference of two counts, over all pairs, divided by twice the mean count (C. Gini, 1912).
    """
    ordered = np.sort(np.asarray(counts, np.float64))
    ranks = np.arange(1, len(ordered) + 1)
    return float(((2 * ranks - len(ordered) - 1) * ordered).sum() / (len(ordered) * ordered.sum()))


def _count(catalog: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return catalog.groupby(columns).size().reset_index(name="photos")
