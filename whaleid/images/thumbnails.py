"""Small pictures of photos, few bytes each, for a page that holds many."""

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.parallel import cores
from whaleid.images.decode import decode

WIDTH, HEIGHT = 96, 72
"""What a thumbnail fits in. A photo in the usual shape, twice as wide as high, fills the width."""
QUALITY = 50


def thumbnail(photo: Image.Image, width: int = WIDTH) -> bytes:
    """Return a JPEG file of `photo`, mode L or RGB, whole, in its own proportions, at most as wide as `width`."""
    small = photo.copy()
    small.thumbnail((width, width * HEIGHT // WIDTH))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def thumbs(files: Mapping[str, Path], width: int = WIDTH) -> dict[str, bytes]:
    """Return a small JPEG file of each of `files`, by its name, at most as wide as `width`.

    Raises:
        InputProblems: photos are missing or damaged.
    """

    def made(path: Path) -> bytes | str:
        try:
            # twice a thumbnail's size is enough to shrink it well
            return thumbnail(decode(path, 2 * width), width)
        except WhaleidError as error:
            return str(error)

    with ThreadPoolExecutor(cores()) as pool:
        found = dict(zip(files, pool.map(made, files.values()), strict=True))
    failed = [said for said in found.values() if isinstance(said, str)]
    if failed:
        remedy = "Put them back as they were, or run `dvc repro`: it reads the catalogue anew."
        raise InputProblems("The report cannot show photos", failed, remedy)
    return {name: small for name, small in found.items() if isinstance(small, bytes)}
