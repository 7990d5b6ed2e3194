"""All photos of a catalogue as arrays of one shape: decoded, cropped and resized once, not every epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.errors import WhaleidError
from whaleid.images.crop import WHOLE, Box, crop, widen
from whaleid.images.decode import decode
from whaleid.parallel import parallel_map


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
        boxes: `Image,x0,y0,x1,y1,aspect`, of some of these photos.
        root: the catalogue folder.
    """
    known: dict[str, tuple[Box, float]] = {
        image: ((x0, y0, x1, y1), aspect)
        for image, x0, y0, x1, y1, aspect in boxes[["Image", "x0", "y0", "x1", "y1", "aspect"]].itertuples(index=False)
    }
    return [
        Source(root / part / image, *known.get(image, (None, None)))
        for image, part in zip(catalog["Image"], catalog["part"], strict=True)
    ]


def pack(
    photos: Sequence[Source], width: int, height: int, grey: bool, margin: float
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield each of `photos`, in their order, as uint8 (height, width, 1) if `grey`, else (height, width, 3).

    Where there is a box, the photo is cropped to it and to `margin`, a share of its size on each side.

    Raises:
        WhaleidError: a photo cannot be decoded, or its box leaves nothing of it.
    """
    one = partial(_pack, width=width, height=height, mode="L" if grey else "RGB", margin=margin)
    yield from parallel_map(one, photos, "photos packed")


def _pack(source: Source, width: int, height: int, mode: str, margin: float) -> npt.NDArray[np.uint8]:
    photo = decode(source.path).convert(mode)
    box = widen(source.box, margin) if source.box else WHOLE
    try:
        sheet = crop(photo, box, source.aspect, width, height)
    except WhaleidError as error:
        raise WhaleidError(f"{source.path}: {error}") from None
    return np.asarray(sheet).reshape(height, width, len(mode))
