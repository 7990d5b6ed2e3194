"""Perceptual hashes: 64 bits that nearly agree where photos look alike."""

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from whaleid.images.fingerprint import Thumbnails


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


def perceptual_hashes(thumbnails: Thumbnails) -> NDArray[np.uint64]:
    """Return the pHash (N,) of `thumbnails` (N, SIDE, SIDE), equal to `imagehash.phash` of these pixels.

    Each of its 64 bits is whether one of the lowest frequencies lies above their median (C. Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions"). `imagehash.phash` of the photo itself starts
    from pixels of another filter and of 8 bits: three in four real photos have the same hash, and most others differ in
    2 bits.
    """
    frequencies = np.array([dctn(pixels)[:8, :8] for pixels in thumbnails]).reshape(-1, 64)
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).ravel()


def to_hex(hashes: NDArray[np.uint64]) -> list[str]:
    """Return each of `hashes` as 16 hexadecimal digits."""
    return [f"{bits:016x}" for bits in hashes.tolist()]


def from_hex(digits: Iterable[str]) -> NDArray[np.uint64]:
    """Return the numbers (N,) of hexadecimal hashes."""
    return np.array([int(each, 16) for each in digits], dtype=np.uint64)
