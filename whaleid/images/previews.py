"""Make previews of photos (small JPEG files for HTML pages) and contact sheets.

Each page decodes the photos that it shows. If the stage `catalog` stored previews of all photos instead, it would take
twice as long (1.1 s more for 2,240 photos), and the pages of `explore`, `dedup` and `report` together 0.9 s less.
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
"""Maximum size of a preview, in pixels. A typical photo, twice as wide as high, fills the width."""
QUALITY = 50
"""JPEG quality of a preview."""
CELL = (220, 124)
"""Width and height of a photo on a contact sheet, in pixels."""
CAPTION, GAP = 18, 6
"""Height of a caption and distance between cells on a contact sheet, in pixels."""


def preview(path: Path, width: int = WIDTH) -> bytes:
    """Return the photo `path` as a JPEG file of at most `width` pixels in width, in its original proportions.

    Raises:
        WhaleidError: as `decode`.
    """
    photo = decode(path, 2 * width)  # decoding at twice the size is enough for a good preview
    photo.thumbnail((width, width * HEIGHT // WIDTH))
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def read_previews(files: Mapping[str, Path], width: int = WIDTH) -> dict[str, bytes]:
    """Return the `preview` of each of `files`, by its name.

    Raises:
        InputProblems: photos are missing or damaged.
    """
    previews, problems = try_previews(files, width)
    if problems:
        remedy = "Restore these files, or run `dvc repro` to read the catalogue again."
        raise InputProblems("The report cannot show photos", problems, remedy)
    return previews


def try_previews(files: Mapping[str, Path], width: int) -> tuple[dict[str, bytes], list[str]]:
    """Return the preview of each readable file of `files`, by its name, and the errors of the others."""
    results = [*parallel_map(partial(attempt, partial(preview, width=width)), [*files.values()], "previews")]
    previews = {name: jpeg for name, jpeg in zip(files, results, strict=True) if isinstance(jpeg, bytes)}
    return previews, [problem for problem in results if isinstance(problem, str)]


def contact_sheet(photos: Sequence[Image.Image], captions: Sequence[str], columns: int) -> Image.Image:
    """Arrange `photos` in rows of `columns` on an RGB image, each with its caption below."""
    rows = -(-len(photos) // columns)
    step_x, step_y = CELL[0] + GAP, CELL[1] + CAPTION + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for number, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
        x, y = GAP + number % columns * step_x, GAP + number // columns * step_y
        sheet.paste(ImageOps.pad(photo.convert("RGB"), CELL, color=(225, 225, 225)), (x, y))
        draw.text((x + CELL[0] / 2, y + CELL[1] + 1), caption, fill="black", font=font, anchor="ma")
    return sheet
