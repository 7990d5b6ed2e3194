"""Photos from files: checked, upright, in one of two modes."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from whaleid.core.errors import WhaleidError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
"""Pillow's names of the formats that are read."""
MAX_PIXELS = 100_000_000
"""More than cameras have; a decoded photo of this size takes 300 MB."""
MAX_SIDE = 30_000
"""Pixels: a longer image is a line, which takes as long to resize as a photo of its length squared."""
MAX_SCANS = 100
"""Scans of a JPEG file: each takes some bytes and goes over all pixels again. Cameras write one, programs ten."""
MAX_TILE = 25_000_000
"""Pixels of a tile of a TIFF file, which is decoded whole, however small the photo is."""
TILE = (322, 323)
"""Tags of a TIFF file: width and height of its tiles."""

# Pillow's own limits lie on both sides of MAX_PIXELS: it warns at one and raises at the other
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def read(path: Path) -> bytes:
    """Return the content of the file `path`.

    Raises:
        WhaleidError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise WhaleidError(f"{path}: cannot be read ({error.strerror})") from None


@contextmanager
def open_image(path: Path, content: bytes) -> Iterator[Image.Image]:
    """Open the image file `path` by its `content`; its pixels are not decoded yet.

    Of an animation, this is the first picture. Errors in the block that decodes it are raised in the same way.

    Raises:
        WhaleidError: the file is of none of `FORMATS` or damaged, has more than `MAX_PIXELS` pixels or `MAX_SIDE` along
            a side, or would take more work than that. The last three are raised before any pixel is decoded.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if excess := _excess(image, content):
                raise WhaleidError(f"{path}: {excess}")
            yield image
    except WhaleidError:
        raise
    except Image.DecompressionBombError:
        raise WhaleidError(f"{path}: over the {MAX_PIXELS:,} pixels allowed") from None
    except UnidentifiedImageError:
        raise WhaleidError(f"{path}: {'no image in a format that is known' if content else 'an empty file'}") from None
    except Exception as error:  # on damaged bytes Pillow raises OSError, SyntaxError, ValueError and more
        raise WhaleidError(f"{path}: damaged or unreadable ({error})") from None


def _excess(image: Image.Image, content: bytes) -> str:
    """Return why `image` would take too much work or memory, `''` if it does not."""
    size = f"{image.width} x {image.height} pixels"
    if image.width * image.height > MAX_PIXELS:
        return f"{size}, over the {MAX_PIXELS:,} allowed"
    if max(image.size) > MAX_SIDE:
        return f"{size}, over the {MAX_SIDE:,} allowed a side"
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        scans = content.count(b"\xff\xda")  # within a scan, 0xff is followed by 0
        return f"{scans:,} scans, over the {MAX_SCANS} allowed: save the photo anew" if scans > MAX_SCANS else ""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width, height = (image.tag_v2.get(tag, 0) for tag in TILE)
        if width * height > MAX_TILE:
            return f"tiles of {width} x {height} pixels, over the {MAX_TILE:,} allowed"
    return ""


def decode(path: Path, min_side: int | None = None, content: bytes | None = None) -> Image.Image:
    """Decode the photo `path`, upright by its EXIF orientation, in mode L or RGB.

    Its `content` may have been read already. With `least`, a JPEG file is decoded at a half, a quarter or an eighth of
    its size, in a fraction of the time, if both sides still have `least` pixels.

    Raises:
        WhaleidError: as `read` and `opened`.
    """
    with open_image(path, read(path) if content is None else content) as image:
        if min_side is not None:
            image.draft(None, (min_side, min_side))
        return simplify(ImageOps.exif_transpose(image))


def simplify(image: Image.Image) -> Image.Image:
    """Return `image` in mode L if it is grey, else in RGB; transparent pixels become white."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I"):  # 16 bits of grey
        return Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
    grey = image.mode in ("1", "LA")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("L" if grey else "RGB")
