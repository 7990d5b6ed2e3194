"""Previews of photos: small JPEG files for pages, and contact sheets.

A page decodes the photos that it shows: if the stage `catalog` kept previews of all photos, it would take twice as long
(1.1 s more for 2,240 photos), and the pages of `explore`, `dedup` and `report` together 0.9 s less.
"""

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from whaleid.core.errors import InputProblems, attempt
from whaleid.core.parallel import parallel_map
from whaleid.images.decode import decode

WIDTH, HEIGHT = 96, 72
"""Largest size of a preview, in pixels. A photo in the usual shape, twice as wide as high, fills the width."""
QUALITY = 50
CELL = (220, 124)
CAPTION, GAP = 18, 6


def preview(path: Path, width: int = WIDTH) -> bytes:
    """Return a JPEG file of the photo `path`, whole, in its own proportions, at most as wide as `width`.

    Raises:
        WhaleidError: as `decode`.
    """
    photo = decode(path, 2 * width)  # twice a preview's size is enough to shrink it well
    photo.thumbnail((width, width * HEIGHT // WIDTH))
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def read_previews(files: Mapping[str, Path], width: int = WIDTH) -> dict[str, bytes]:
    """Return the preview of each of `files`, by its name, at most as wide as `width`.

    Raises:
        InputProblems: photos are missing or damaged.
    """
    previews, problems = try_previews(files, width)
    if problems:
        remedy = "Put them back as they were, or run `dvc repro`: it reads the catalogue anew."
        raise InputProblems("The report cannot show photos", problems, remedy)
    return previews


def try_previews(files: Mapping[str, Path], width: int) -> tuple[dict[str, bytes], list[str]]:
    """Return the preview of each of `files` that can be read, by its name, and what is wrong with the others."""
    results = [*parallel_map(partial(attempt, partial(preview, width=width)), [*files.values()], "previews")]
    previews = {name: each for name, each in zip(files, results, strict=True) if isinstance(each, bytes)}
    return previews, [each for each in results if isinstance(each, str)]


def contact_sheet(photos: Sequence[Image.Image], captions: Sequence[str], columns: int) -> Image.Image:
    """Return an RGB picture with `photos` row by row, each whole in its `CELL` with its caption below."""
    rows = -(-len(photos) // columns)
    across, down = CELL[0] + GAP, CELL[1] + CAPTION + GAP
    sheet = Image.new("RGB", (columns * across + GAP, rows * down + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for number, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
        x, y = GAP + number % columns * across, GAP + number // columns * down
        sheet.paste(ImageOps.pad(photo.convert("RGB"), CELL, color=(225, 225, 225)), (x, y))
        draw.text((x + CELL[0] / 2, y + CELL[1] + 1), caption, fill="black", font=font, anchor="ma")
    return sheet
