"""Frames around photos: bars and mats of nearly one grey level, on which nothing was photographed."""

import numpy as np
import numpy.typing as npt

from whaleid.images.crop import WHOLE, Box

TOLERANCE = 10
"""Grey levels by which a frame may stray from its own level: room for JPEG's noise. A sky as even as that is cut off
with the frame, which costs nothing: no fluke is on it."""
LEAST = 0.25
"""Of the photo's width and height, what lies inside at least: where less would be left, the photo is all but blank."""


def inside(photo: npt.NDArray[np.uint8]) -> Box:
    """Return what lies inside the frame of a grey photo (H, W); the whole of it, where there is none or nothing else.

    A frame is rows at the top or bottom, and columns at the left or right of what is between these, that are of one
    level at each edge.
    """
    height, width = photo.shape
    top, below = _frame(photo), _frame(photo[::-1])
    between = photo[top : height - below].T
    if between.shape[1] < LEAST * height:
        return WHOLE
    left, right = _frame(between), _frame(between[::-1])
    if width - left - right < LEAST * width:
        return WHOLE
    return left / width, top / height, (width - right) / width, (height - below) / height


def _frame(lines: npt.NDArray[np.uint8]) -> int:
    """Return how many of `lines` (N, M), from the first one on, keep to the level of the first one."""
    level = np.median(lines[0])
    strange = (number for number, line in enumerate(lines) if (np.abs(line - level) > TOLERANCE).any())
    return next(strange, len(lines))
