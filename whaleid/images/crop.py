"""A photo cropped to its fluke, or to what lies inside its frame, and resized to one shape."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageStat

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as fractions of the photo's width and height."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
TOLERANCE = 10
"""Grey levels by which the pixels of a frame may differ: room for JPEG's noise. A sky as even as that is cut off with
the frame, which costs nothing: no fluke is on it."""
MIN_INSIDE = 0.25
"""The least share of the photo's width and height inside a frame. Where less would be left, the photo is blank."""


def add_margin(box: Box, margin: float) -> Box:
    """Add `margin` times the width or height of `box` to each side, within the photo."""
    x0, y0, x1, y1 = box
    across, down = margin * (x1 - x0), margin * (y1 - y0)
    return max(0.0, x0 - across), max(0.0, y0 - down), min(1.0, x1 + across), min(1.0, y1 + down)


def box_iou(predicted: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (N,) the intersection over union of each box of `predicted` (N, 4) with that of `true` (N, 4)."""
    sides = np.minimum(predicted[:, 2:], true[:, 2:]) - np.maximum(predicted[:, :2], true[:, :2])  # (N, 2)
    common = sides.clip(0).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (predicted, true)]
    ratios: npt.NDArray[np.float64] = common / (areas[0] + areas[1] - common)
    return ratios


def crop(
    photo: Image.Image, box: Box, aspect: float | None, width: int, height: int, stretch: bool = False
) -> Image.Image:
    """Crop a photo to `box` and resize it, as large as it fits, on the middle of a sheet.

    Args:
        photo: in mode L or RGB.
        box: with a width and a height above 0.
        aspect: width / height of the original, where `photo` is a copy squeezed into another shape, else None.
        width: of the sheet, in pixels.
        height: of the sheet, in pixels.
        stretch: whether the crop fills the sheet; else it keeps its proportions.

    Returns:
        An image of that size in the photo's mode. A crop that is not stretched is surrounded by its mean colour, which
        becomes about zero by standardising, as a network's own padding is.
    """
    x0, y0, x1, y1 = box
    region = x0 * photo.width, y0 * photo.height, x1 * photo.width, y1 * photo.height
    size = (width, height)
    if not stretch:
        shape = (aspect or photo.width / photo.height) * (x1 - x0) / (y1 - y0)
        size = min(width, max(1, round(height * shape))), min(height, max(1, round(width / shape)))
    # faster, with no visible difference: Pillow first halves large photos coarsely, to three times the size or more
    fluke = photo.resize(size, Image.Resampling.BICUBIC, box=region, reducing_gap=3.0)
    if size == (width, height):
        return fluke
    mean = tuple(round(level) for level in ImageStat.Stat(fluke).mean)
    sheet = Image.new(photo.mode, (width, height), mean)
    sheet.paste(fluke, ((width - size[0]) // 2, (height - size[1]) // 2))
    return sheet


def inside_frame(photo: npt.NDArray[np.uint8]) -> Box:
    """Return the part of a grey photo (H, W) inside its frame; `WHOLE` if it has none, or nothing else.

    A frame is rows of one grey level at the top or bottom, then columns at the left or right between these.
    """
    height, width = photo.shape
    top, bottom = _frame(photo), _frame(photo[::-1])
    between = photo[top : height - bottom].T
    if between.shape[1] < MIN_INSIDE * height:
        return WHOLE
    left, right = _frame(between), _frame(between[::-1])
    if width - left - right < MIN_INSIDE * width:
        return WHOLE
    return left / width, top / height, (width - right) / width, (height - bottom) / height


def _frame(lines: npt.NDArray[np.uint8]) -> int:
    """Return how many of `lines` (N, M), from the first one on, have the level of the first one."""
    level = np.median(lines[0])
    inside = (number for number, line in enumerate(lines) if (np.abs(line - level) > TOLERANCE).any())
    return next(inside, len(lines))
