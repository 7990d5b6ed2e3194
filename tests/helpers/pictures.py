"""Small smooth pictures, each unlike every other."""

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A smooth picture without symmetry, another for each seed."""
    spots = np.random.default_rng(seed).integers(0, 256, (8, 12), dtype=np.uint8)
    return Image.fromarray(spots).resize(size, Image.Resampling.BICUBIC)
