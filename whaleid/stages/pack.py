"""Stage `pack`: crop and resize all photos into one array."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whaleid.core import paths
from whaleid.core.files import read_csv, replacing_folder, write_csv
from whaleid.core.log import logger
from whaleid.images.pack import Shape, pack, regions

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> None:
    """Write all photos of the catalogue, cropped to the fluke, as one uint8 array, and an index of its rows.

    Raises:
        WhaleidError: a photo cannot be decoded.
    """
    settings = params.pack
    catalog = read_csv(paths.CATALOG)
    root = Path(params.data.root)
    photos = [root / part / image for part, image in zip(catalog["part"], catalog["Image"], strict=True)]
    crops = regions(catalog, read_csv(paths.FLUKES), settings.crop)
    mode = "L" if settings.grey else "RGB"
    shape = (len(photos), settings.height, settings.width, len(mode))
    packed = pack(photos, crops, Shape(settings.width, settings.height, mode, settings.margin, settings.stretch))
    with replacing_folder(paths.PACK) as folder:
        # written photo by photo to save memory; a memory map would crash on a full disk instead of raising an error
        with (folder / paths.PHOTOS.name).open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for photo in packed:
                file.write(photo.tobytes())
        write_csv(catalog[["Image", "part"]], folder / paths.PACK_INDEX.name)
    cropped, rotated = sum(crop.box is not None for crop in crops), sum(crop.upside_down for crop in crops)
    size = " x ".join(map(str, shape))
    logger.info(f"{paths.PHOTOS}: {size} (photos, height, width, channels); {cropped:,} cropped, {rotated:,} rotated")
