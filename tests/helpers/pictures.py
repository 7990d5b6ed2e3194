"""Small synthetic pictures: smooth noise that differs with the seed."""

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Return a smooth grey picture of `size`, without symmetry; every seed gives a different one."""
    spots = np.random.default_rng(seed).integers(0, 256, (8, 12), dtype=np.uint8)
    return Image.fromarray(spots).resize(size, Image.Resampling.BICUBIC)
