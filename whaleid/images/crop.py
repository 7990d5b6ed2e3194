"""Crop photos to the fluke, or to the area inside a frame, and resize them to one shape."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageStat

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as fractions of the photo's width and height."""
FULL_BOX: Box = (0.0, 0.0, 1.0, 1.0)
"""The box that covers a whole photo."""
TOLERANCE = 10
"""Grey levels by which the pixels of a frame may differ, to allow for JPEG noise. A sky as uniform as this is removed
with the frame, which does no harm, because it shows no part of the fluke."""
MIN_INSIDE = 0.25
"""Minimum share of the photo's width and height inside a frame. A photo with less inside counts as blank."""


def add_margin(box: Box, margin: float) -> Box:
    """Enlarge `box` on each side by `margin` times its width or height, up to the border of the photo."""
    x0, y0, x1, y1 = box
    margin_x, margin_y = margin * (x1 - x0), margin * (y1 - y0)
    return max(0.0, x0 - margin_x), max(0.0, y0 - margin_y), min(1.0, x1 + margin_x), min(1.0, y1 + margin_y)


def box_iou(predicted: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the intersection over union (N,) of corresponding boxes of `predicted` (N, 4) and `truth` (N, 4)."""
    sides = np.minimum(predicted[:, 2:], truth[:, 2:]) - np.maximum(predicted[:, :2], truth[:, :2])  # (N, 2)
    intersection = sides.clip(0).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (predicted, truth)]
    ratios: npt.NDArray[np.float64] = intersection / (areas[0] + areas[1] - intersection)
    return ratios


def crop(
    photo: Image.Image, box: Box, aspect: float | None, width: int, height: int, stretch: bool = False
) -> Image.Image:
    """Crop a photo to `box`, resize the crop to fit into `width` x `height` pixels, and centre it on such a canvas.

    Args:
        photo: image in mode L or RGB.
        box: box with a width and a height above 0.
        aspect: width / height of the original if `photo` was resized to another shape, else None.
        width: width of the result, in pixels.
        height: height of the result, in pixels.
        stretch: whether to fill the canvas with the crop instead of preserving its proportions.

    Returns:
        An image of `width` x `height` pixels in the mode of `photo`. The canvas around the crop has the mean colour of
        the crop, which standardisation maps to about zero, like the zero padding of a network.
    """
    x0, y0, x1, y1 = box
    region = x0 * photo.width, y0 * photo.height, x1 * photo.width, y1 * photo.height
    size = (width, height)
    if not stretch:
        shape = (aspect or photo.width / photo.height) * (x1 - x0) / (y1 - y0)
        size = min(width, max(1, round(height * shape))), min(height, max(1, round(width / shape)))
    # reducing_gap is faster, without a visible difference: Pillow first shrinks large photos to at least 3 x the size
    fluke = photo.resize(size, Image.Resampling.BICUBIC, box=region, reducing_gap=3.0)
    if size == (width, height):
        return fluke
    mean = tuple(round(channel) for channel in ImageStat.Stat(fluke).mean)
    canvas = Image.new(photo.mode, (width, height), mean)
    canvas.paste(fluke, ((width - size[0]) // 2, (height - size[1]) // 2))
    return canvas


def inside_frame(photo: npt.NDArray[np.uint8]) -> Box:
    """Return the box inside the frame of a grey photo (H, W); `FULL_BOX` if it has no frame or is blank.

    A frame consists of rows of one grey level at the top and bottom, and of columns of one grey level at the left and
    right, between these rows.
    """
    height, width = photo.shape
    top, bottom = _frame_width(photo), _frame_width(photo[::-1])
    inner = photo[top : height - bottom].T
    if inner.shape[1] < MIN_INSIDE * height:
        return FULL_BOX
    left, right = _frame_width(inner), _frame_width(inner[::-1])
    if width - left - right < MIN_INSIDE * width:
        return FULL_BOX
    return left / width, top / height, (width - right) / width, (height - bottom) / height


def _frame_width(lines: npt.NDArray[np.uint8]) -> int:
    """Count the lines of `lines` (N, M), from the first on, that have the grey level of the first line."""
    grey = np.median(lines[0])
    inside = (number for number, line in enumerate(lines) if (np.abs(line - grey) > TOLERANCE).any())
    return next(inside, len(lines))
