"""Contact sheets: many photos on one page."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

CELL = (220, 124)
CAPTION = 18
GAP = 6


def contact_sheet(photos: Sequence[Image.Image], captions: Sequence[str], columns: int) -> Image.Image:
    """Lay `photos` out row by row, each whole in its cell with its caption below; return an RGB page."""
    rows = -(-len(photos) // columns)
    across, down = CELL[0] + GAP, CELL[1] + CAPTION + GAP
    page = Image.new("RGB", (columns * across + GAP, rows * down + GAP), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(13)
    for number, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
        x, y = GAP + number % columns * across, GAP + number // columns * down
        page.paste(ImageOps.pad(photo.convert("RGB"), CELL, color=(225, 225, 225)), (x, y))
        draw.text((x + CELL[0] / 2, y + CELL[1] + 1), caption, fill="black", font=font, anchor="ma")
    return page
