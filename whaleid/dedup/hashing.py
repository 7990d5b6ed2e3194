"""What tells that two photos are the same picture: a thumbnail, and the perceptual hash of it.

A photo is shrunk once, to the 32 x 32 grey pixels that pHash starts from: hashes, those of the picture turned or
mirrored among them, and the comparison of pixels need nothing else of it.
"""

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
"""Width and height of a thumbnail, as pHash shrinks a photo."""
LOW = 8
"""Frequencies of each axis that the hash looks at: 8 x 8 bits."""
BLOCK = 4096
"""Thumbnails that are transformed at a time: bounds the memory, changes no result."""


class Orientation(IntEnum):
    """How one photo lies with regard to another one."""

    UPRIGHT = 0
    TURNED = 1  # by 180 degrees
    MIRRORED = 2  # left and right exchanged
    FLIPPED = 3  # both: upper and lower edge exchanged

    def of(self, thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return `thumbnails` (N, H, W) so oriented. Each orientation undoes itself."""
        down = -1 if self in (Orientation.TURNED, Orientation.FLIPPED) else 1
        across = -1 if self in (Orientation.TURNED, Orientation.MIRRORED) else 1
        return thumbnails[:, ::down, ::across]


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """Return `image` shrunk to grey pixels, shape (SIDE, SIDE)."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def frequencies(thumbnails: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the lowest frequencies (N, LOW * LOW) of `thumbnails` (N, SIDE, SIDE) less their median.

    They are those of a discrete cosine transform of type 2, unnormalised, row by row from the mean on.
    """
    found = np.empty((len(thumbnails), LOW * LOW))
    for start in range(0, len(thumbnails), BLOCK):
        pixels = thumbnails[start : start + BLOCK].astype(np.float64)
        spectrum = scipy.fft.dct(scipy.fft.dct(pixels, axis=1), axis=2)[:, :LOW, :LOW]
        found[start : start + BLOCK] = spectrum.reshape(len(pixels), -1)
    return found - np.median(found, axis=1, keepdims=True)


def perceptual_hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the pHash (N,) of `thumbnails` (N, SIDE, SIDE), bit by bit that of ImageHash's `phash`.

    Each of its 64 bits tells whether one of the lowest frequencies lies above their median: pictures that look alike
    differ in few of them. ImageHash takes one photo at a time; here many are transformed together.
    """
    bits = np.packbits(frequencies(thumbnails) > 0, axis=1)
    return bits.view(">u8").astype(np.uint64).ravel()


def to_hex(hashes: NDArray[np.uint64]) -> list[str]:
    """Return each of `hashes` as 16 hexadecimal digits."""
    return [f"{bits:016x}" for bits in hashes.tolist()]


def to_bits(digits: Iterable[str]) -> NDArray[np.uint64]:
    """Return hexadecimal hashes as numbers, shape (N,)."""
    return np.array([int(each, 16) for each in digits], dtype=np.uint64)
