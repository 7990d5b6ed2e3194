"""All that is to be known of a photo's file, from reading and decoding it once."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from whaleid.dedup.hashing import frequencies, thumbnail
from whaleid.errors import WhaleidError
from whaleid.images.decode import opened, simplify

VERSION = 1
"""Another number, whenever the same file would have another fingerprint: what was kept of it is then of no use."""
REDUCED = 256
"""Pixels of the shorter side, at least, to which a JPEG file is decoded where its hash can be told from that."""
CLEAR = 32.0
"""How far all frequencies of a reduced photo lie from their median, at least, for its hash to be told. Of 394 photos of
1050 x 600 pixels, 18 had another hash when reduced, by 2 bits; all of these had a frequency within 25."""


class Fingerprint(NamedTuple):
    """What the file of a photo is, and what the photo looks like."""

    sha256: str
    size: int  # bytes
    format: str  # Pillow's name
    mode: str  # Pillow's, as the file has it
    width: int  # upright, by its EXIF orientation
    height: int
    thumbnail: bytes  # its pixels, uint8, row by row


def fingerprint(path: Path) -> Fingerprint | str:
    """Read the photo `path` and return what it is or, as `opened` says it, what is wrong with it."""
    try:
        return _decoded(path, path.read_bytes())
    except WhaleidError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"


def _decoded(path: Path, content: bytes) -> Fingerprint:
    with opened(path, content) as image:
        # cameras that store a preview as well write MPO: a JPEG file with more behind it
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        mode, (width, height) = image.mode, image.size
        if image.getexif().get(ExifTags.Base.Orientation, 1) > 4:  # to be turned by a quarter
            width, height = height, width
        reduced = _reduce(image)
        small = thumbnail(_upright(image))
    if reduced and not _told(small):
        with opened(path, content) as image:
            small = thumbnail(_upright(image))
    sha256 = hashlib.sha256(content).hexdigest()
    return Fingerprint(sha256, len(content), kind, mode, width, height, small.tobytes())


def _reduce(image: Image.Image) -> bool:
    """Have a large JPEG file decoded to a part of its size, without its colours, and tell whether it will be."""
    size = image.size
    if min(size) >= 2 * REDUCED:
        image.draft("L", (REDUCED, REDUCED))
    return image.size != size


def _told(small: NDArray[np.uint8]) -> bool:
    """Tell whether no bit of the hash is in doubt of which `small` is the thumbnail, from a reduced photo."""
    return bool(np.abs(frequencies(small[None])).min() >= CLEAR)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return simplify(image)
