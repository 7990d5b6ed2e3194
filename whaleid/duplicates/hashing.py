"""Perceptual hashes: 64 bits that nearly agree where photos look alike."""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Self, cast

import numpy as np
from numpy.typing import NDArray

from whaleid.images.fingerprint import Thumbnails

if TYPE_CHECKING:
    from PIL.Image import Image


class Orientation(IntEnum):
    """How one photo lies relative to another one."""

    UPRIGHT = 0
    TURNED = 1  # by 180 degrees
    MIRRORED = 2  # left and right exchanged
    FLIPPED = 3  # both: top and bottom exchanged

    def apply(self, thumbnails: Thumbnails) -> Thumbnails:
        """Return `thumbnails` (N, H, W) in this orientation. Each orientation is its own inverse."""
        down = -1 if self in (Orientation.TURNED, Orientation.FLIPPED) else 1
        across = -1 if self in (Orientation.TURNED, Orientation.MIRRORED) else 1
        return thumbnails[:, ::down, ::across]


class _Shrunk:
    """A thumbnail as `imagehash.phash` takes a photo, which it converts to grey and shrinks to 32 x 32 first.

    Pillow's grey has 8 bits; with the 16 bits of the thumbnail, one photo in 17 gets another hash, by 2 bits.
    """

    def __init__(self, pixels: NDArray[np.uint16]) -> None:
        self.pixels = pixels

    def convert(self, mode: str) -> Self:
        return self

    def resize(self, size: tuple[int, int], resample: int) -> NDArray[np.uint16]:
        return self.pixels


def perceptual_hashes(thumbnails: Thumbnails) -> NDArray[np.uint64]:
    """Return the pHash (N,) of `thumbnails` (N, SIDE, SIDE), as ImageHash computes it from these pixels.

    Each of its 64 bits is whether one of the lowest frequencies lies above their median (C. Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions"). `imagehash.phash` of the photo itself starts
    from pixels of another filter: three in four real photos have the same hash, and most others differ in 2 bits.
    """
    import imagehash  # with PyWavelets, 0.1 s

    bits = [imagehash.phash(cast("Image", _Shrunk(pixels))).hash for pixels in thumbnails]
    packed = np.packbits(np.array(bits, dtype=bool).reshape(-1, 64), axis=1)
    return packed.view(">u8").astype(np.uint64).ravel()


def to_hex(hashes: NDArray[np.uint64]) -> list[str]:
    """Return each of `hashes` as 16 hexadecimal digits."""
    return [f"{bits:016x}" for bits in hashes.tolist()]


def from_hex(digits: Iterable[str]) -> NDArray[np.uint64]:
    """Return the numbers (N,) of hexadecimal hashes."""
    return np.array([int(each, 16) for each in digits], dtype=np.uint64)
