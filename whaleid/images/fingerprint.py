"""All that is to be known of a photo's file, from reading and decoding it once."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, ImageOps

from whaleid.core.errors import WhaleidError
from whaleid.duplicates.hashing import thumbnail
from whaleid.images.decode import opened, simplify

VERSION = 1
"""Another number, whenever the same file would have another fingerprint: what was kept of it is then of no use."""
REDUCED = 256
"""Pixels of the shorter side, at least, to which a JPEG file is decoded, at a half, a quarter or an eighth of its size:
each of a thumbnail's cells is then the mean of 8 x 8 pixels or more, and the hash the same but for 2 bits of one photo
in some hundred (`benchmarks/duplicates.py`)."""


class Fingerprint(NamedTuple):
    """What the file of a photo is, and what the photo looks like."""

    sha256: str
    size: int  # bytes
    format: str  # Pillow's name
    mode: str  # Pillow's, as the file has it
    width: int  # upright, by its EXIF orientation
    height: int
    thumbnail: bytes  # its pixels, uint16, row by row


def fingerprint(path: Path) -> Fingerprint | str:
    """Read the photo `path` and return what it is or, as `opened` says it, what is wrong with it."""
    try:
        return of_content(path, path.read_bytes())
    except WhaleidError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"


def of_content(path: Path, content: bytes) -> Fingerprint:
    """Return what the photo `path` is, whose file holds `content`.

    Raises:
        WhaleidError: as `opened`.
    """
    with opened(path, content) as image:
        # cameras that store a preview as well write MPO: a JPEG file with more behind it
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        mode, (width, height) = image.mode, image.size
        if image.getexif().get(ExifTags.Base.Orientation, 1) > 4:  # to be turned by a quarter
            width, height = height, width
        # of a JPEG file, brightness alone is decoded, and no more of that than is needed
        image.draft("L", (REDUCED, REDUCED))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        small = thumbnail(simplify(image))
    sha256 = hashlib.sha256(content).hexdigest()
    return Fingerprint(sha256, len(content), kind, mode, width, height, small.tobytes())
