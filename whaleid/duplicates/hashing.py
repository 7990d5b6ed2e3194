"""What tells that two photos are the same picture: a thumbnail, and the perceptual hash of it.

A photo is shrunk once, to the 32 x 32 grey pixels that pHash starts from: hashes, those of the picture turned or
mirrored among them, and the comparison of pixels need nothing else of it.
"""

from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image

Thumbnails = NDArray[np.uint16]
SIDE = 32
"""Width and height of a thumbnail, as pHash shrinks a photo."""
LOW = 8
"""Frequencies of each axis that the hash looks at: 8 x 8 bits."""
LEVEL = 256
"""Of a thumbnail's units, how many make a grey level: whole levels would round away what bits of a hash hang on."""
UNIT = 4096
"""What the shares of a cell sum up to: few enough bits for float32 to add up grey levels times shares exactly."""
BLOCK = 4096
"""Thumbnails that are transformed at a time: bounds the memory, changes no result."""


class Orientation(IntEnum):
    """How one photo lies with regard to another one."""

    UPRIGHT = 0
    TURNED = 1  # by 180 degrees
    MIRRORED = 2  # left and right exchanged
    FLIPPED = 3  # both: upper and lower edge exchanged

    def of(self, thumbnails: Thumbnails) -> Thumbnails:
        """Return `thumbnails` (N, H, W) so oriented. Each orientation undoes itself."""
        down = -1 if self in (Orientation.TURNED, Orientation.FLIPPED) else 1
        across = -1 if self in (Orientation.TURNED, Orientation.MIRRORED) else 1
        return thumbnails[:, ::down, ::across]


def thumbnail(image: Image.Image) -> Thumbnails:
    """Return `image` shrunk to the mean grey of SIDE x SIDE cells, (SIDE, SIDE): `LEVEL` times 0 to 255.

    All sums are of whole numbers that floats hold exactly: the same photo gives the same bytes, however many threads
    share the work.
    """
    pixels = np.asarray(image if image.mode == "L" else image.convert("L"), dtype=np.float32)
    height, width = pixels.shape
    rows = (_shares(height) @ pixels).astype(np.float64)
    cells = rows @ _shares(width).T.astype(np.float64)
    return np.rint(cells * (LEVEL / UNIT**2)).astype(np.uint16)


@lru_cache(maxsize=128)
def _shares(pixels: int) -> NDArray[np.float32]:
    """Return what share of a line of `pixels` each cell has of each pixel, (SIDE, pixels): whole numbers, of `UNIT`."""
    place = np.arange(pixels + 1) * SIDE / pixels - np.arange(SIDE)[:, None]
    found: NDArray[np.float32] = np.diff(np.rint(np.clip(place, 0, 1) * UNIT)).astype(np.float32)
    return found


def frequencies(thumbnails: Thumbnails) -> NDArray[np.float64]:
    """Return the lowest frequencies (N, LOW * LOW) of `thumbnails` (N, SIDE, SIDE) less their median.

    They are those of a discrete cosine transform of type 2, unnormalised, in grey levels, row by row from the mean on.
    """
    found = np.empty((len(thumbnails), LOW * LOW))
    for start in range(0, len(thumbnails), BLOCK):
        pixels = thumbnails[start : start + BLOCK].astype(np.float64) / LEVEL
        spectrum = scipy.fft.dct(scipy.fft.dct(pixels, axis=1), axis=2)[:, :LOW, :LOW]
        found[start : start + BLOCK] = spectrum.reshape(len(pixels), -1)
    return found - np.median(found, axis=1, keepdims=True)


def perceptual_hashes(thumbnails: Thumbnails) -> NDArray[np.uint64]:
    """Return the pHash (N,) of `thumbnails` (N, SIDE, SIDE).

    Each of its 64 bits tells whether one of the lowest frequencies lies above their median: pictures that look alike
    differ in few of them (C. Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"). Of the
    same 32 x 32 pixels, it is bit by bit that of ImageHash's `phash`, which shrinks photos by another filter: of real
    photos, three in four have the same hash by both, and most others differ in 2 bits.
    """
    bits = np.packbits(frequencies(thumbnails) > 0, axis=1)
    return bits.view(">u8").astype(np.uint64).ravel()


def to_hex(hashes: NDArray[np.uint64]) -> list[str]:
    """Return each of `hashes` as 16 hexadecimal digits."""
    return [f"{bits:016x}" for bits in hashes.tolist()]


def to_bits(digits: Iterable[str]) -> NDArray[np.uint64]:
    """Return hexadecimal hashes as numbers, shape (N,)."""
    return np.array([int(each, 16) for each in digits], dtype=np.uint64)
