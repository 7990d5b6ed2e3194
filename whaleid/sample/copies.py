"""Copies of a photo as catalogues hold them: the same picture, saved another way."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from whaleid.sample.photograph import Box, Photo

Change = Callable[[Image.Image, np.random.Generator], tuple[Image.Image, Box]]
"""Takes a photo's picture; returns it changed, and what is seen of it, as fractions of width and height."""
WHOLE = (0.0, 0.0, 1.0, 1.0)


def _recompressed(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, Box]:
    return image, WHOLE


def _resized(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, Box]:
    share = rng.uniform(0.4, 0.99)
    return image.resize([round(side * share) for side in image.size], Image.Resampling.BICUBIC), WHOLE


def _cropped(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, Box]:
    left, top, right, bottom = (int(pixels) for pixels in rng.integers(0, 3, 4))
    left += 1  # a crop takes a pixel at least
    corners = (left, top, image.width - right, image.height - bottom)
    width, height = image.size
    return image.crop(corners), (left / width, top / height, corners[2] / width, corners[3] / height)


def _greyed(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, Box]:
    return image.convert("L"), WHOLE


def _brightened(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, Box]:
    return ImageEnhance.Brightness(image).enhance(rng.uniform(1.1, 1.35)), WHOLE


def _lettered(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, Box]:
    lettered = image.copy()
    size = int(rng.integers(7, 10))
    at = rng.uniform((0, 0), (image.width - 8 * size, image.height - 2 * size))
    text = f"{rng.integers(1990, 2017)}-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
    white = 255 if image.mode == "L" else (255, 255, 255)
    ImageDraw.Draw(lettered).text(tuple(at), text, fill=white, font=ImageFont.load_default(size))
    return lettered, WHOLE


def _turned(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, Box]:
    return image.transpose(Image.Transpose.ROTATE_180), (1.0, 1.0, 0.0, 0.0)


CHANGES: dict[str, Change] = {
    "recompressed": _recompressed,
    "resized": _resized,
    "cropped": _cropped,
    "greyed": _greyed,
    "brightened": _brightened,
    "lettered": _lettered,
    "turned": _turned,
}
KINDS = ("exact", *CHANGES)
"""Of copies: `exact` is the same file, byte for byte; all others are saved anew as JPEG, at another quality."""


def copied(photo: Photo, kind: str, rng: np.random.Generator) -> Photo:
    """Return a copy of `photo` of one of `KINDS`; the same state of `rng` gives the same bytes."""
    if kind == "exact":
        return photo
    image: Image.Image = Image.open(io.BytesIO(photo.jpeg))
    changed, visible = CHANGES[kind](image, rng)
    file = io.BytesIO()
    changed.save(file, "JPEG", quality=int(rng.integers(40, 95)))
    return replace(photo, jpeg=file.getvalue(), box=_within(photo.box, visible))


def _within(box: Box, visible: Box) -> Box:
    """Return `box` as it lies in what is `visible` of the photo, whose corners are exchanged where it is turned."""
    (x0, x1), (y0, y1) = (
        sorted(min(max((edge - low) / (high - low), 0.0), 1.0) for edge in edges)
        for edges, low, high in ((box[::2], visible[0], visible[2]), (box[1::2], visible[1], visible[3]))
    )
    return x0, y0, x1, y1
