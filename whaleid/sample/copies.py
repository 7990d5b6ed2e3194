"""Make copies of a photo as they occur in catalogues: the same picture, saved in another way."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from whaleid.sample.photograph import Photo

KINDS = ("exact", "recompressed", "resized", "cropped", "greyed", "brightened", "lettered", "turned")
"""The kinds of copies. `exact` is the same file, byte for byte; the others are saved again at another JPEG quality."""


def make_copy(photo: Photo, kind: str, rng: np.random.Generator) -> Photo:
    """Make a copy of `photo`; `kind` is one of `KINDS`. The same state of `rng` gives the same bytes."""
    if kind == "exact":
        return photo
    image: Image.Image = Image.open(io.BytesIO(photo.jpeg))
    width, height = image.size
    x0, y0, x1, y1 = photo.box
    match kind:
        case "resized":
            share = rng.uniform(0.4, 0.99)
            image = image.resize((round(width * share), round(height * share)), Image.Resampling.BICUBIC)
        case "cropped":
            left, top, right, bottom = (int(pixels) for pixels in rng.integers(0, 3, 4))
            left += 1  # crop at least one pixel
            image = image.crop((left, top, width - right, height - bottom))
            x0, x1 = (min(max((x * width - left) / image.width, 0.0), 1.0) for x in (x0, x1))
            y0, y1 = (min(max((y * height - top) / image.height, 0.0), 1.0) for y in (y0, y1))
        case "greyed":
            image = image.convert("L")
        case "brightened":
            image = ImageEnhance.Brightness(image).enhance(rng.uniform(1.1, 1.35))
        case "lettered":
            size = int(rng.integers(7, 10))
            x, y = rng.uniform((0, 0), (width - 8 * size, height - 2 * size))
            text = f"{rng.integers(1990, 2017)}-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
            ImageDraw.Draw(image).text((x, y), text, fill="white", font=ImageFont.load_default(size))
        case "turned":
            image = image.transpose(Image.Transpose.ROTATE_180)
            x0, y0, x1, y1 = 1 - x1, 1 - y1, 1 - x0, 1 - y0
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(40, 95)))
    return Photo(file.getvalue(), (x0, y0, x1, y1))
