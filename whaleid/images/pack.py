"""All photos of a catalogue as one array: decoded, cropped and resized once, not every epoch."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from whaleid.core import arrays, files, paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.labels import CORNERS
from whaleid.core.parallel import parallel_map
from whaleid.images.crop import Box, add_margin, crop, inside_frame
from whaleid.images.decode import decode


@dataclass(frozen=True)
class Region:
    """The part of a photo to pack."""

    box: Box | None = None  # of the fluke
    aspect: float | None = None  # width / height of the original, where the photo is squeezed
    upside_down: bool = False  # whether the photo is upside down


@dataclass(frozen=True)
class Shape:
    """The shape in which photos are packed."""

    width: int
    height: int
    mode: str = "L"  # or RGB
    margin: float = 0.0  # around a box, as a share of its size on each side
    stretch: bool = False  # whether a crop fills the shape; else it keeps its proportions


def regions(catalog: pd.DataFrame, flukes: pd.DataFrame, boxes: bool = True) -> list[Region]:
    """Return the region of each photo of `catalog`, in its order.

    Args:
        catalog: `Image`.
        flukes: `Image,x0,y0,x1,y1,aspect,turned`, of some of these photos; `turned` is 1 for those upside down.
        boxes: whether to crop to the boxes.
    """
    columns = flukes[["Image", *CORNERS, "aspect", "turned"]].itertuples(index=False)
    known = {
        image: Region(tuple(box) if boxes else None, aspect, turned == 1) for image, *box, aspect, turned in columns
    }
    return [known.get(image, Region()) for image in catalog["Image"]]


def pack(photos: Sequence[Path], parts: Sequence[Region], shape: Shape) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the region of each of `photos`, in order, as `cut` returns it.

    Raises:
        WhaleidError: a photo cannot be decoded.
    """
    items = list(zip(photos, parts, strict=True))
    yield from parallel_map(partial(_pack, shape=shape), items, "photos packed")


def _pack(item: tuple[Path, Region], shape: Shape) -> npt.NDArray[np.uint8]:
    path, region = item
    return crop_region(decode(path), region, shape)


def crop_region(photo: Image.Image, region: Region, shape: Shape) -> npt.NDArray[np.uint8]:
    """Crop `photo`, mode L or RGB, to `region` and resize it: uint8 (height, width, 1 or 3).

    Without a box, the frame of the photo is cut off, if it has one. A photo that is upside down is turned.
    """
    photo = photo.convert(shape.mode)
    box = add_margin(region.box, shape.margin) if region.box else inside_frame(np.asarray(photo.convert("L")))
    sheet = crop(photo, box, region.aspect, shape.width, shape.height, shape.stretch)
    if region.upside_down:
        sheet = sheet.transpose(Image.Transpose.ROTATE_180)
    return np.asarray(sheet).reshape(shape.height, shape.width, len(photo.mode))


@dataclass(frozen=True)
class PackedPhotos:
    """The output of the stage `pack`."""

    images: list[str]  # N names, in the order of `array`
    array: npt.NDArray[np.uint8]  # (N, H, W, C), mapped from the file

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a photo."""
        _, height, width, channels = self.array.shape
        return height, width, channels

    def rows(self, images: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return (P,) the rows of `images`.

        Raises:
            InputProblems: photos are not packed.
        """
        names, row = list(images), {image: number for number, image in enumerate(self.images)}
        if missing := sorted({*names} - row.keys()):
            raise InputProblems(f"Photos are not in {paths.PACK_INDEX}", missing, "Rerun `dvc repro pack`.")
        return np.array([row[image] for image in names], dtype=np.int64)


def load_pack() -> PackedPhotos:
    """Map the packed photos from their file; a photo is read when it is used.

    Raises:
        WhaleidError: a file is not whole, or they do not fit each other.
    """
    array = arrays.memory_map(paths.PHOTOS, np.uint8, 4)
    try:
        images = files.read_csv(paths.PACK_INDEX)["Image"].tolist()
    except (ValueError, KeyError) as error:
        raise WhaleidError(f"{paths.PACK_INDEX} cannot be used ({error}): rerun `dvc repro pack`.") from None
    if len(images) != len(array):
        raise WhaleidError(f"{paths.PHOTOS} and {paths.PACK_INDEX} do not fit each other: rerun `dvc repro pack`.")
    return PackedPhotos(images, array)
