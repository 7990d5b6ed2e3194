"""Stage `pack`: photos from files to one array."""

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
    """Write every photo of the catalogue, cropped to its fluke, into one uint8 array, and the order of its rows.

    Raises:
        WhaleidError: a photo cannot be decoded.
    """
    settings = params.pack
    catalog = read_csv(paths.CATALOG)
    root = Path(params.data.root)
    photos = [root / part / image for part, image in zip(catalog["part"], catalog["Image"], strict=True)]
    parts = regions(catalog, read_csv(paths.FLUKES), settings.crop)
    mode = "L" if settings.grey else "RGB"
    shape = (len(photos), settings.height, settings.width, len(mode))
    packed = pack(photos, parts, Shape(settings.width, settings.height, mode, settings.margin, settings.stretch))
    with replacing_folder(paths.PACK) as folder:
        # photo by photo: memory stays small, and a full disk is an error (a memory map would crash on it)
        with (folder / paths.PHOTOS.name).open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for photo in packed:
                file.write(photo.tobytes())
        write_csv(catalog[["Image", "part"]], folder / paths.PACK_INDEX.name)
    cropped, turned = sum(part.box is not None for part in parts), sum(part.upside_down for part in parts)
    size = " x ".join(map(str, shape))
    logger.info(
        f"{paths.PHOTOS}: {size} (photos, height, width, channels), {cropped:,} of them cropped, {turned:,} turned"
    )
