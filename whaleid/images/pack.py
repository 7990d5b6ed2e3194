"""All photos of a catalogue as arrays of one shape: decoded, cropped and resized once, not every epoch."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.errors import WhaleidError
from whaleid.images.crop import WHOLE, Box, crop, widen
from whaleid.images.decode import decode


@dataclass(frozen=True)
class Source:
    """A photo and what is known of it: where its fluke is, and what width / height the original had."""

    path: Path
    box: Box | None
    aspect: float | None


def sources(catalog: pd.DataFrame, boxes: pd.DataFrame, root: Path) -> list[Source]:
    """Return a source for each row of `catalog`, in its order.

    Args:
        catalog: `Image,part`.
        boxes: `Image,x0,y0,x1,y1,aspect`, of some of these photos; an aspect may be empty.
        root: the catalogue folder.
    """
    aspects = pd.to_numeric(boxes["aspect"])  # empty is NaN
    sides = zip(boxes["x0"], boxes["y0"], boxes["x1"], boxes["y1"], strict=True)
    box_of = dict(zip(boxes["Image"], ((float(a), float(b), float(c), float(d)) for a, b, c, d in sides), strict=True))
    aspect_of = {image: float(aspect) for image, aspect in zip(boxes["Image"], aspects, strict=True) if aspect > 0}
    return [
        Source(root / part / image, box_of.get(image), aspect_of.get(image))
        for image, part in zip(catalog["Image"], catalog["part"], strict=True)
    ]


def pack(
    photos: Sequence[Source], width: int, height: int, grey: bool, margin: float
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield each of `photos`, in their order, as (height, width, 1) if `grey`, else (height, width, 3).

    Where there is a box, the photo is cropped to it and to `margin`, a share of its size on each side.

    Raises:
        WhaleidError: a photo cannot be decoded, or its box leaves nothing of it.
    """
    mode = "L" if grey else "RGB"

    def one(source: Source) -> npt.NDArray[np.uint8]:
        photo = decode(source.path).convert(mode)
        box = widen(source.box, margin) if source.box else WHOLE
        try:
            sheet = crop(photo, box, source.aspect, width, height)
        except WhaleidError as error:
            raise WhaleidError(f"{source.path}: {error}") from None
        return np.asarray(sheet).reshape(height, width, len(mode))

    # threads are enough: Pillow decodes and resizes without Python's lock
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(one, photos)
