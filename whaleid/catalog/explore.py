"""What a catalogue is like: how its photos spread over whales, sizes and modes.

A catalogue has a row a photo with the columns of `paths.CATALOG`, in any order.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE


def photos_per_whale(catalog: pd.DataFrame) -> pd.DataFrame:
    """Return `Id,photos`, a row a whale, most photos first, then by `Id`. `new_whale` is no whale."""
    named = catalog[(catalog["part"] == "train") & (catalog["Id"] != NEW_WHALE)]
    return _count(named, ["Id"]).sort_values(["photos", "Id"], ascending=[False, True], ignore_index=True)


def tables(catalog: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return counts, sorted: `photos_per_whale`; whales by their photos; photos by `sizes` and `modes` of each part.

    Sizes are in pixels, modes as Pillow names them (`L` is grey).
    """
    whales = photos_per_whale(catalog)
    return {
        "photos_per_whale": whales,
        "whales_by_photos": whales.groupby("photos").size().reset_index(name="whales"),
        "sizes": _count(catalog, ["part", "width", "height"]),
        "modes": _count(catalog, ["part", "mode"]),
    }


def example_photos(catalog: pd.DataFrame, whales: int, photos: int) -> pd.DataFrame:
    """Return `Image,Id`: `photos` photos of each of the `whales` whales with most, the first by `Image`.

    Every whale has equally many: fewer than `photos`, where one of them has no more.
    """
    counts = photos_per_whale(catalog).head(whales)
    rank = dict(zip(counts["Id"], counts.index, strict=True))
    images = catalog[catalog["Id"].isin(rank)].sort_values("Image")
    images = images.groupby("Id").head(min(photos, counts["photos"].min()))
    return images.sort_values("Id", key=lambda ids: ids.map(rank), kind="stable")[["Image", "Id"]]


def summary(catalog: pd.DataFrame) -> dict[str, float]:
    """Return the figures that say how much there is and how unevenly it is spread.

    `labelled`, `queries` and `whales` are counts; `single_photo_share` is a share of the whales, `new_whale_share`
    of the labelled photos. The rest is over the photos of whales: the most, mean and median a whale has, the share
    that the tenth of the whales with most photos has, and their `gini`.

    Raises:
        WhaleidError: no photo shows a whale that has a name.
    """
    photos = photos_per_whale(catalog)["photos"].to_numpy()
    labelled = int((catalog["part"] == "train").sum())
    if len(photos) == 0:
        raise WhaleidError(
            f"None of the {labelled} labelled photos names a whale: give train.csv some Id other than {NEW_WHALE}."
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
    """Return how unevenly `counts` (not all 0) are spread: 0 if all are equal, towards 1 if one has nearly all.

    The mean difference of two counts, over all pairs, as a share of twice the mean count (C. Gini, 1912).
    """
    ordered = np.sort(np.asarray(counts, np.float64))
    ranks = np.arange(1, len(ordered) + 1)
    return float(((2 * ranks - len(ordered) - 1) * ordered).sum() / (len(ordered) * ordered.sum()))


def _count(catalog: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return catalog.groupby(columns).size().reset_index(name="photos")
