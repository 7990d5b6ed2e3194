"""Fingerprints of photos: facts about the file and a thumbnail of 32 x 32 pixels, from reading and decoding it once."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from whaleid.core.errors import WhaleidError, attempt
from whaleid.core.parallel import parallel_map
from whaleid.images.decode import FORMATS, open_image, read, simplify

Thumbnails = NDArray[np.uint16]
SIDE = 32
"""Width and height of a thumbnail, in pixels: what a perceptual hash is computed from."""
LEVEL = 256
"""Units of a thumbnail in one grey level. Rounding to whole levels would change bits of some hashes."""
UNIT = 4096
"""The sum of a pixel's shares: few enough bits for float32 to add up grey levels times shares exactly."""
REDUCED = 256
"""The fewest pixels that the shorter side keeps where a JPEG file is decoded at a half, a quarter or an eighth of its
size. Each cell of the thumbnail is then the mean of at least 8 x 8 pixels; 1 photo in 250 gets another hash, by 2 bits
(`benchmarks/duplicates.py`)."""
CATALOGUE_FORMATS = ("JPEG", "PNG")
"""Pillow's names of the formats that a catalogue may hold."""
COLUMNS = ["width", "height", "mode", "bytes", "sha256"]
"""Columns of `paths.CATALOG` that come from fingerprints."""


class Fingerprint(NamedTuple):
    """Facts about the file of a photo, and its thumbnail."""

    sha256: str
    size: int  # of the file, in bytes
    format: str  # Pillow's name
    mode: str  # Pillow's, as stored in the file
    width: int  # upright, by the EXIF orientation
    height: int
    thumbnail: NDArray[np.uint16]  # (SIDE, SIDE)


def fingerprint(path: Path, content: bytes | None = None, formats: Sequence[str] = FORMATS) -> Fingerprint:
    """Compute the fingerprint of the photo `path`, whose file holds `content` if that is already read.

    Raises:
        WhaleidError: as `read` and `opened`, and for a format other than `formats`.
    """
    content = read(path) if content is None else content
    with open_image(path, content) as image:
        # cameras that store a preview as well write MPO: a JPEG file with more behind it
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        if kind not in formats:
            raise WhaleidError(f"{path}: a {kind} image; photos of a catalogue are {' or '.join(formats)}")
        mode, (width, height) = image.mode, image.size
        if image.getexif().get(ExifTags.Base.Orientation, 1) > 4:  # turned by 90 degrees
            width, height = height, width
        # of a JPEG file, only the brightness is decoded, at the smallest size that is large enough
        image.draft("L", (REDUCED, REDUCED))
        ImageOps.exif_transpose(image, in_place=True)
        small = thumbnail(simplify(image))
    return Fingerprint(hashlib.sha256(content).hexdigest(), len(content), kind, mode, width, height, small)


def fingerprints(files: Sequence[Path], formats: Sequence[str] = FORMATS) -> list[Fingerprint | str]:
    """Compute the fingerprint of each of `files`, in order, or the text of its error."""
    return list(parallel_map(partial(attempt, partial(fingerprint, formats=formats)), files, "photos read"))


def file_metadata(photos: Sequence[Fingerprint]) -> pd.DataFrame:
    """Return a table of `COLUMNS`, a row a photo."""
    table = pd.DataFrame(list(photos), columns=list(Fingerprint._fields))
    return table.rename(columns={"size": "bytes"})[COLUMNS]


def thumbnails(photos: Sequence[Fingerprint]) -> Thumbnails:
    """Return the thumbnails of `photos`, (N, SIDE, SIDE)."""
    return np.array([photo.thumbnail for photo in photos], dtype=np.uint16).reshape(-1, SIDE, SIDE)


def thumbnail(image: Image.Image) -> NDArray[np.uint16]:
    """Shrink `image` to the mean grey of SIDE x SIDE cells, (SIDE, SIDE): `LEVEL` times 0 to 255.

    All sums are sums of whole numbers that floats hold exactly, so the result does not depend on the number of threads.
    """
    pixels = np.asarray(image if image.mode == "L" else image.convert("L"), dtype=np.float32)
    height, width = pixels.shape
    rows = (_shares(height) @ pixels).astype(np.float64)
    cells = rows @ _shares(width).T.astype(np.float64)
    return np.rint(cells * (LEVEL / UNIT**2)).astype(np.uint16)


@lru_cache(maxsize=128)
def _shares(pixels: int) -> NDArray[np.float32]:
    """Return the share, in 1 / `UNIT`, of each pixel of a line of `pixels` in each cell, (SIDE, pixels)."""
    place = np.arange(pixels + 1) * SIDE / pixels - np.arange(SIDE)[:, None]
    shares: NDArray[np.float32] = np.diff(np.rint(np.clip(place, 0, 1) * UNIT)).astype(np.float32)
    return shares
