"""Perceptual hashes: 64 bits per photo, most of which agree for similar photos."""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Self, cast

import numpy as np
from numpy.typing import NDArray

from whaleid.images.fingerprint import Thumbnails

if TYPE_CHECKING:
    from PIL.Image import Image


class Orientation(IntEnum):
    """The orientation of a photo relative to another photo."""

    UPRIGHT = 0
    TURNED = 1  # rotated by 180 degrees
    MIRRORED = 2  # left and right swapped
    FLIPPED = 3  # both, which swaps top and bottom

    def apply(self, thumbnails: Thumbnails) -> Thumbnails:
        """Rotate or mirror `thumbnails` (N, H, W) to this orientation. Each orientation is its own inverse."""
        row_step = -1 if self in (Orientation.TURNED, Orientation.FLIPPED) else 1
        column_step = -1 if self in (Orientation.TURNED, Orientation.MIRRORED) else 1
        return thumbnails[:, ::row_step, ::column_step]


class _GreyThumbnail:
    """A thumbnail with the methods that `imagehash.phash` calls on a photo; they leave its 16-bit pixels unchanged.

    Compared with Pillow's 8-bit grey images, 16-bit pixels change one hash in 17, by 2 bits.
    """

    def __init__(self, pixels: NDArray[np.uint16]) -> None:
        self.pixels = pixels

    def convert(self, mode: str) -> Self:
        return self

    def resize(self, size: tuple[int, int], resample: int) -> NDArray[np.uint16]:
        return self.pixels


def perceptual_hashes(thumbnails: Thumbnails) -> NDArray[np.uint64]:
    """Compute the pHash of `thumbnails` (N, SIDE, SIDE) with ImageHash.

    Returns (N,). Each of the 64 bits says whether one of the lowest frequencies is above their median (C. Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions"). `imagehash.phash` of the photo itself shrinks
    it with another filter: three in four real photos get the same hash, and most of the others differ in 2 bits.
    """
    import imagehash  # slow to import (0.1 s): it loads PyWavelets

    bits = [imagehash.phash(cast("Image", _GreyThumbnail(pixels))).hash for pixels in thumbnails]
    packed = np.packbits(np.array(bits, dtype=bool).reshape(-1, 64), axis=1)
    return packed.view(">u8").astype(np.uint64).ravel()


def to_hex(hashes: NDArray[np.uint64]) -> list[str]:
    """Format each of `hashes` (N,) as 16 hexadecimal digits."""
    return [f"{bits:016x}" for bits in hashes.tolist()]


def from_hex(digits: Iterable[str]) -> NDArray[np.uint64]:
    """Parse hashes of 16 hexadecimal digits to an array (N,)."""
    return np.array([int(text, 16) for text in digits], dtype=np.uint64)
