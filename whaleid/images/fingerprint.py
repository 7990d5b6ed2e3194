"""Compute fingerprints of photos: metadata of the file and a thumbnail of 32 x 32 pixels, in one pass over the file."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from whaleid.core.errors import WhaleidError, attempt
from whaleid.core.formats import FORMATS, HEIF
from whaleid.core.parallel import parallel_map
from whaleid.images.decode import open_image, orientation, read, simplify, upright

Thumbnails = NDArray[np.uint16]
"""Thumbnails of photos, (N, SIDE, SIDE)."""
SIDE = 32
"""Width and height of a thumbnail, in pixels. Perceptual hashes are computed from thumbnails."""
GREY_UNITS = 256
"""Units of a thumbnail per grey level. Rounding to whole grey levels would change bits of some hashes."""
SHARE_UNITS = 4096
"""Units into which a pixel is divided among cells: few enough for exact float32 sums of grey levels times shares."""
MIN_DECODED_SIDE = 256
"""Minimum pixels of the shorter side when a JPEG file is decoded at 1/2, 1/4 or 1/8 of its size. Each cell of the
thumbnail is then the mean of at least 8 x 8 pixels; the hash of 1 photo in 250 changes, by 2 bits
(`benchmarks/duplicates.py`)."""
CATALOGUE_FORMATS = ("JPEG", "PNG")
"""The formats allowed in a catalogue, as named by Pillow."""
METADATA_COLUMNS = ["width", "height", "mode", "bytes", "sha256"]
"""Columns of `paths.CATALOG` that are taken from fingerprints."""


class Fingerprint(NamedTuple):
    """Metadata of the file of a photo, and its thumbnail."""

    sha256: str
    size: int  # of the file, in bytes
    format: str  # as named by Pillow
    mode: str  # of the stored image, as named by Pillow
    width: int  # in pixels, after rotation by the EXIF orientation
    height: int
    thumbnail: NDArray[np.uint16]  # (SIDE, SIDE)


def fingerprint(path: Path, content: bytes | None = None, formats: Sequence[str] = (*FORMATS, HEIF)) -> Fingerprint:
    """Compute the fingerprint of the photo `path`, from the `content` of the file if it has been read already.

    Raises:
        WhaleidError: as `read` and `open_image`; or the format is not one of `formats`.
    """
    content = read(path) if content is None else content
    with open_image(path, content) as image:
        # cameras that add a preview write MPO files: JPEG files with further images at the end
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        if kind not in formats:
            raise WhaleidError(f"{path}: a {kind} image; photos of a catalogue must be {' or '.join(formats)}")
        mode, (width, height) = image.mode, image.size
        if orientation(image) > 4 and not isinstance(image, TiffImagePlugin.TiffImageFile):  # whose size is upright
            width, height = height, width
        # decode only the luminance of a JPEG file, at the smallest size that is sufficient
        image.draft("L", (MIN_DECODED_SIDE, MIN_DECODED_SIDE))
        pixels = thumbnail(simplify(upright(image)))
    return Fingerprint(hashlib.sha256(content).hexdigest(), len(content), kind, mode, width, height, pixels)


def fingerprints(files: Sequence[Path], formats: Sequence[str] = (*FORMATS, HEIF)) -> list[Fingerprint | str]:
    """Compute the fingerprint of each of `files`, in order. The result for an unreadable file is its error message."""
    return list(parallel_map(partial(attempt, partial(fingerprint, formats=formats)), files, "photos read"))


def file_metadata(photos: Sequence[Fingerprint]) -> pd.DataFrame:
    """Return a table of `METADATA_COLUMNS`, one row per photo."""
    table = pd.DataFrame(list(photos), columns=list(Fingerprint._fields))
    return table.rename(columns={"size": "bytes"})[METADATA_COLUMNS]


def thumbnails(photos: Sequence[Fingerprint]) -> Thumbnails:
    """Return the thumbnails of `photos`, (N, SIDE, SIDE)."""
    return np.array([photo.thumbnail for photo in photos], dtype=np.uint16).reshape(-1, SIDE, SIDE)


def thumbnail(image: Image.Image) -> NDArray[np.uint16]:
    """Compute the thumbnail of `image`, (SIDE, SIDE): the mean grey level of each cell, 0 to 255, times `GREY_UNITS`.

    All sums are exact, because they are sums of integers, so the result does not depend on the number of threads.
    """
    pixels = np.asarray(image if image.mode == "L" else image.convert("L"), dtype=np.float32)
    height, width = pixels.shape
    rows = (_pixel_shares(height) @ pixels).astype(np.float64)
    cells = rows @ _pixel_shares(width).T.astype(np.float64)
    return np.rint(cells * (GREY_UNITS / SHARE_UNITS**2)).astype(np.uint16)


@lru_cache(maxsize=128)
def _pixel_shares(pixels: int) -> NDArray[np.float32]:
    """Return the share of each pixel of a line in each cell, (SIDE, pixels), in units of 1 / `SHARE_UNITS`."""
    position = np.arange(pixels + 1) * SIDE / pixels - np.arange(SIDE)[:, None]
    shares: NDArray[np.float32] = np.diff(np.rint(np.clip(position, 0, 1) * SHARE_UNITS)).astype(np.float32)
    return shares
