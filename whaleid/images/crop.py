"""The fluke, cut out of its photo, on a sheet of one size: in its true proportions, or stretched to fill it."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageStat

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as fractions of the photo's width and height."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def widen(box: Box, margin: float) -> Box:
    """Add to each side `margin` times the box's width or height, as far as the photo goes."""
    x0, y0, x1, y1 = box
    across, down = margin * (x1 - x0), margin * (y1 - y0)
    return max(0.0, x0 - across), max(0.0, y0 - down), min(1.0, x1 + across), min(1.0, y1 + down)


def overlaps(found: npt.NDArray[np.float64], given: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (N,) the intersection over union of each box of `found` (N, 4) with that of `given` (N, 4)."""
    sides = np.minimum(found[:, 2:], given[:, 2:]) - np.maximum(found[:, :2], given[:, :2])  # (N, 2)
    common = sides.clip(0).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (found, given)]
    ratios: npt.NDArray[np.float64] = common / (areas[0] + areas[1] - common)
    return ratios


def crop(
    photo: Image.Image, box: Box, aspect: float | None, width: int, height: int, stretch: bool = False
) -> Image.Image:
    """Cut `box` out of a photo and lay it, as large as it fits, on the middle of a sheet.

    Args:
        photo: in mode L or RGB.
        box: what to cut out; it has a width and a height, however small.
        aspect: width / height of the original, where `photo` is a copy squeezed into another shape, else None.
        width: of the sheet, in pixels.
        height: of the sheet, in pixels.
        stretch: whether the crop fills the sheet, whatever its proportions are.

    Returns:
        An image of that size in the photo's mode. Where it is not stretched, the crop has its original proportions;
        around it lies its mean colour, which standardising makes about zero, as a network's own padding is.
    """
    x0, y0, x1, y1 = box
    region = x0 * photo.width, y0 * photo.height, x1 * photo.width, y1 * photo.height
    size = (width, height)
    if not stretch:
        shape = (aspect or photo.width / photo.height) * (x1 - x0) / (y1 - y0)
        size = min(width, max(1, round(height * shape))), min(height, max(1, round(width / shape)))
    # Pillow halves large photos coarsely down to three times the size, which shows nowhere and is quick
    fluke = photo.resize(size, Image.Resampling.BICUBIC, box=region, reducing_gap=3.0)
    if size == (width, height):
        return fluke
    mean = tuple(round(level) for level in ImageStat.Stat(fluke).mean)
    sheet = Image.new(photo.mode, (width, height), mean)
    sheet.paste(fluke, ((width - size[0]) // 2, (height - size[1]) // 2))
    return sheet
