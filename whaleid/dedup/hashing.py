"""What tells that two photos are the same picture: a perceptual hash, and a thumbnail to confirm it.

The rule, hashes a few bits apart and then a small error between standardised pixels, is M. Piotte's, who won
Kaggle's whale-categorization-playground in 2018. He asks for the pixels of unequal hashes only; here, of all.
"""

from collections.abc import Iterable

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
"""Width and height of a thumbnail: enough to tell two pictures of the same hash apart."""


def perceptual_hash(image: Image.Image) -> str:
    """Return the 64 bits of ImageHash's pHash as 16 hexadecimal digits.

    Each bit tells whether one of the 8 x 8 lowest frequencies of the picture, shrunk to 32 x 32 grey pixels,
    lies above their median. Pictures that look alike differ in few bits.
    """
    return str(imagehash.phash(image))


def to_bits(hashes: Iterable[str]) -> NDArray[np.uint64]:
    """Return hexadecimal hashes as numbers, shape (N,), for `np.bitwise_count`."""
    return np.array([int(digits, 16) for digits in hashes], dtype=np.uint64)


def thumbnail(image: Image.Image) -> NDArray[np.float32]:
    """Return `image` shrunk to grey pixels, shape (SIDE, SIDE), with mean 0 and deviation 1.

    Light and contrast are taken out, so two thumbnails have a mean squared error of 2 (1 - correlation).
    A picture of one grey gives zeros.
    """
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    pixels = np.asarray(small, dtype=np.float32)
    deviation = pixels.std()
    if deviation == 0:
        return np.zeros_like(pixels)
    standardised: NDArray[np.float32] = (pixels - pixels.mean()) / deviation
    return standardised
