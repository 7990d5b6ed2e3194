"""Small pictures of photos, few bytes each, for a page that holds many."""

import io

from PIL import Image

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
