"""The fluke, cut out of its photo, in its true proportions, on a sheet of one size."""

from PIL import Image, ImageStat

from whaleid.errors import WhaleidError

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as fractions of the photo's width and height."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def widen(box: Box, margin: float) -> Box:
    """Add to each side `margin` times the box's width or height, as far as the photo goes."""
    x0, y0, x1, y1 = box
    across, down = margin * (x1 - x0), margin * (y1 - y0)
    return max(0.0, x0 - across), max(0.0, y0 - down), min(1.0, x1 + across), min(1.0, y1 + down)


def crop(photo: Image.Image, box: Box, aspect: float | None, width: int, height: int) -> Image.Image:
    """Cut `box` out of a photo and lay it, as large as it fits, on the middle of a sheet.

    Args:
        photo: in mode L or RGB.
        box: what to cut out.
        aspect: width / height of the original, where `photo` is a copy squeezed into another shape, else None.
        width: of the sheet, in pixels.
        height: of the sheet, in pixels.

    Returns:
        An image of that size in the photo's mode. The crop has its original proportions; around it lies its mean
        colour, which standardising makes about zero, as a network's own padding is.

    Raises:
        WhaleidError: the box covers less than one pixel's width or height.
    """
    x0, y0, x1, y1 = box
    region = x0 * photo.width, y0 * photo.height, x1 * photo.width, y1 * photo.height
    if region[2] - region[0] < 1 or region[3] - region[1] < 1:
        raise WhaleidError(
            f"its box {box} leaves less than a pixel of {photo.width} x {photo.height}: correct boxes.csv"
        )
    shape = (aspect or photo.width / photo.height) * (x1 - x0) / (y1 - y0)
    size = min(width, max(1, round(height * shape))), min(height, max(1, round(width / shape)))
    # Pillow halves large photos coarsely down to three times the size, which shows nowhere and is quick
    fluke = photo.resize(size, Image.Resampling.BICUBIC, box=region, reducing_gap=3.0)
    mean = tuple(round(level) for level in ImageStat.Stat(fluke).mean)
    sheet = Image.new(photo.mode, (width, height), mean)
    sheet.paste(fluke, ((width - size[0]) // 2, (height - size[1]) // 2))
    return sheet
