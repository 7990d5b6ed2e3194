"""Stage `catalog`: read and check every row and every photo of the catalogue folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid.catalog import layout
from whaleid.catalog.checks import tiny_box_problems
from whaleid.core import paths
from whaleid.core.errors import raise_all, require_all
from whaleid.core.files import replacing, write_csv
from whaleid.core.labels import NEW_WHALE
from whaleid.core.log import logger
from whaleid.duplicates.hashing import perceptual_hashes, to_hex
from whaleid.images.fingerprint import CATALOGUE_FORMATS, file_metadata, fingerprints, thumbnails

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> None:
    """Write the table of photos, their thumbnails, the boxes and the solution.

    Raises:
        WhaleidError: the folder or its CSV files have errors.
        InputProblems: photos cannot be decoded, or boxes are too small; all of them are listed.
    """
    root = Path(params.data.root)
    catalogue = layout.read(root)
    photos = catalogue.photos
    files = [root / part / image for part, image in zip(photos["part"], photos["Image"], strict=True)]
    remedy = "Replace these files, or remove them together with their rows."
    prints = require_all(fingerprints(files, CATALOGUE_FORMATS), "Photos that cannot be used", remedy)
    small = thumbnails(prints)
    photos = photos.join(file_metadata(prints)).assign(phash=to_hex(perceptual_hashes(small)))
    raise_all([*tiny_box_problems(root / "boxes.csv", catalogue.boxes, photos)])
    write_csv(photos, paths.CATALOG)
    with replacing(paths.THUMBNAILS) as temporary:
        np.save(temporary, small)
    write_csv(_with_aspect(catalogue.boxes, photos), paths.BOXES)
    write_csv(catalogue.solution, paths.SOLUTION)
    logger.info(_report(photos, len(catalogue.boxes), len(catalogue.solution)))


def _with_aspect(boxes: pd.DataFrame, photos: pd.DataFrame) -> pd.DataFrame:
    """Fill missing aspects (width / height) of `boxes` with those of their photos."""
    sizes = photos.set_index("Image").loc[boxes["Image"]].reset_index()
    aspect = sizes["width"] / sizes["height"]
    return boxes.assign(aspect=boxes["aspect"].fillna(aspect) if "aspect" in boxes else aspect)


def _report(photos: pd.DataFrame, boxes: int, solutions: int) -> str:
    labels = photos.loc[photos["part"] == "train", "Id"]
    whales = labels[labels != NEW_WHALE].value_counts()
    sizes = (photos["width"].astype(str) + "x" + photos["height"].astype(str)).value_counts()
    more = f" and {len(sizes) - 3:,} more" if len(sizes) > 3 else ""
    return (
        f"{len(labels):,} labelled photos, {len(photos) - len(labels):,} queries\n"
        f"{len(whales):,} whales, {(whales == 1).sum():,} of them with a single photo; "
        f"{len(labels) - whales.sum():,} photos labelled {NEW_WHALE}\n"
        f"sizes: {_counts(sizes.head(3))}{more}; modes: {_counts(photos['mode'].value_counts())}\n"
        f"{boxes:,} boxes, {solutions:,} true labels of queries"
    )


def _counts(counts: pd.Series[int]) -> str:
    return ", ".join(f"{value} ({count:,})" for value, count in counts.items())
