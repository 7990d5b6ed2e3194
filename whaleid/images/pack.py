"""Pack all photos of a catalogue into one array, so that they are decoded, cropped and resized only once."""

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
    """The part of a photo to crop."""

    box: Box | None = None  # of the fluke, if known
    aspect: float | None = None  # width / height of the original, if the photo was resized to another shape
    upside_down: bool = False  # whether to rotate the crop by 180 degrees


@dataclass(frozen=True)
class Shape:
    """The shape and mode of packed photos."""

    width: int  # in pixels
    height: int
    mode: str = "L"  # L or RGB
    margin: float = 0.0  # added to each side of a box, as a share of its width or height
    stretch: bool = False  # whether to fill the shape with the crop instead of preserving its proportions


def regions(catalog: pd.DataFrame, flukes: pd.DataFrame, boxes: bool = True) -> list[Region]:
    """Return the region of each photo of `catalog`, in its order.

    Args:
        catalog: table with the column `Image`.
        flukes: table `Image,x0,y0,x1,y1,aspect,turned` of some of these photos; `turned` is 1 for those upside down.
        boxes: whether to crop to the boxes.
    """
    columns = flukes[["Image", *CORNERS, "aspect", "turned"]].itertuples(index=False)
    by_image = {
        image: Region(tuple(box) if boxes else None, aspect, turned == 1) for image, *box, aspect, turned in columns
    }
    return [by_image.get(image, Region()) for image in catalog["Image"]]


def pack(photos: Sequence[Path], photo_regions: Sequence[Region], shape: Shape) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the crop of each of `photos`, in order, as `crop_region` returns it.

    Raises:
        WhaleidError: a photo cannot be decoded.
    """
    items = list(zip(photos, photo_regions, strict=True))
    yield from parallel_map(partial(_pack, shape=shape), items, "photos packed")


def _pack(item: tuple[Path, Region], shape: Shape) -> npt.NDArray[np.uint8]:
    path, region = item
    return crop_region(decode(path), region, shape)


def crop_region(photo: Image.Image, region: Region, shape: Shape) -> npt.NDArray[np.uint8]:
    """Crop `photo`, in mode L or RGB, to `region`, and resize it to `shape`. Return uint8 (height, width, 1 or 3).

    Without a box, remove the frame of the photo if it has one.
    """
    photo = photo.convert(shape.mode)
    box = add_margin(region.box, shape.margin) if region.box else inside_frame(np.asarray(photo.convert("L")))
    canvas = crop(photo, box, region.aspect, shape.width, shape.height, shape.stretch)
    if region.upside_down:
        canvas = canvas.transpose(Image.Transpose.ROTATE_180)
    return np.asarray(canvas).reshape(shape.height, shape.width, len(photo.mode))


@dataclass(frozen=True)
class PackedPhotos:
    """The output of the stage `pack`."""

    images: list[str]  # names of the N photos, in the order of `array`
    array: npt.NDArray[np.uint8]  # (N, H, W, C), memory-mapped

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a photo."""
        _, height, width, channels = self.array.shape
        return height, width, channels

    def rows(self, images: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the rows (P,) of `images` in `array`.

        Raises:
            InputProblems: some of `images` are not packed.
        """
        names, row = list(images), {image: number for number, image in enumerate(self.images)}
        if missing := sorted({*names} - row.keys()):
            raise InputProblems(f"Photos are missing from {paths.PACK_INDEX}", missing, "Run `dvc repro pack` again.")
        return np.array([row[image] for image in names], dtype=np.int64)


def load_pack() -> PackedPhotos:
    """Memory-map the packed photos. A photo is read from the file when it is used.

    Raises:
        WhaleidError: a file is damaged, or the two files do not match.
    """
    array = arrays.memory_map(paths.PHOTOS, np.uint8, 4)
    try:
        images = files.read_csv(paths.PACK_INDEX)["Image"].tolist()
    except (ValueError, KeyError) as error:
        raise WhaleidError(
            f"{paths.PACK_INDEX} cannot be used ({error}). Run `dvc repro pack` to rebuild it."
        ) from None
    if len(images) != len(array):
        raise WhaleidError(f"{paths.PHOTOS} and {paths.PACK_INDEX} do not match. Run `dvc repro pack` to rebuild them.")
    return PackedPhotos(images, array)
