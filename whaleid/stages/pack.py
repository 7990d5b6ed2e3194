"""Stage `pack`: photos from files to one array."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whaleid.core import paths
from whaleid.core.files import read_csv, replacing_folder, write_csv
from whaleid.images.pack import pack, sources

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> None:
    """Write every photo of the catalogue, cropped to its fluke, into one uint8 array, and which row is which.

    Raises:
        WhaleidError: a photo cannot be decoded.
    """
    settings = params.pack
    catalog = read_csv(paths.CATALOG)
    photos = sources(catalog, read_csv(paths.FLUKES), Path(params.data.root))
    if not settings.crop:
        photos = [replace(photo, box=None) for photo in photos]
    shape = (len(photos), settings.height, settings.width, 1 if settings.grey else 3)
    packed = pack(photos, settings.width, settings.height, settings.grey, settings.margin, settings.stretch)
    with replacing_folder(paths.PACK) as folder:
        # photo by photo: memory stays small, and a full disk is an error (a memory map would crash on it)
        with (folder / paths.PHOTOS.name).open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for photo in packed:
                file.write(photo.tobytes())
        write_csv(catalog[["Image", "part"]], folder / paths.PACKED.name)
    cropped, turned = sum(photo.box is not None for photo in photos), sum(photo.turned for photo in photos)
    said = " x ".join(str(length) for length in shape)
    print(f"{paths.PHOTOS}: {said} (photos, height, width, channels), {cropped:,} of them cropped, {turned:,} turned")
