"""All photos of a catalogue as arrays of one shape: decoded, cropped and resized once, not every epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from whaleid.core.parallel import parallel_map
from whaleid.images.borders import inside
from whaleid.images.crop import Box, crop, widen
from whaleid.images.decode import decode


@dataclass(frozen=True)
class Source:
    """A photo and what is known of it: where its fluke is, what width / height the original had, which way is up."""

    path: Path
    box: Box | None
    aspect: float | None
    turned: bool = False  # whether it is upside down


def sources(catalog: pd.DataFrame, flukes: pd.DataFrame, root: Path) -> list[Source]:
    """Return a source for each row of `catalog`, in its order.

    Args:
        catalog: `Image,part`.
        flukes: `Image,x0,y0,x1,y1,aspect,turned`, of some of these photos; `turned` is 1 for those upside down.
        root: the catalogue folder.
    """
    columns = flukes[["Image", "x0", "y0", "x1", "y1", "aspect", "turned"]]
    known: dict[str, tuple[Box, float, bool]] = {
        image: ((x0, y0, x1, y1), aspect, turned == 1)
        for image, x0, y0, x1, y1, aspect, turned in columns.itertuples(index=False)
    }
    return [
        Source(root / part / image, *known.get(image, (None, None)))
        for image, part in zip(catalog["Image"], catalog["part"], strict=True)
    ]


def pack(
    photos: Sequence[Source], width: int, height: int, grey: bool, margin: float, stretch: bool
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield each of `photos`, in their order, as uint8 (height, width, 1) if `grey`, else (height, width, 3).

    Where there is a box, the photo is cropped to it and to `margin`, a share of its size on each side; else to what
    lies inside its frame, if it has one. With `stretch`, the crop fills the array; else it keeps its proportions.
    Photos that are upside down are turned.

    Raises:
        WhaleidError: a photo cannot be decoded.
    """
    mode = "L" if grey else "RGB"
    one = partial(_pack, width=width, height=height, mode=mode, margin=margin, stretch=stretch)
    yield from parallel_map(one, photos, "photos packed")


def _pack(source: Source, width: int, height: int, mode: str, margin: float, stretch: bool) -> npt.NDArray[np.uint8]:
    return packed(decode(source.path).convert(mode), source, width, height, margin, stretch)


def packed(
    photo: Image.Image, source: Source, width: int, height: int, margin: float, stretch: bool
) -> npt.NDArray[np.uint8]:
    """Return `photo`, mode L or RGB, as `pack` does that of its `source`: uint8 (height, width, 1 or 3)."""
    box = widen(source.box, margin) if source.box else inside(np.asarray(photo.convert("L")))
    sheet = crop(photo, box, source.aspect, width, height, stretch)
    if source.turned:
        sheet = sheet.transpose(Image.Transpose.ROTATE_180)
    return np.asarray(sheet).reshape(height, width, len(photo.mode))
