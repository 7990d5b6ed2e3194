"""Decode photos from untrusted files, upright and in mode L or RGB."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from whaleid.core.errors import WhaleidError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
"""The supported formats, as named by Pillow."""
MAX_PIXELS = 100_000_000
"""Maximum number of pixels of a photo. Cameras have fewer; a decoded photo of this size takes 300 MB."""
MAX_SIDE = 30_000
"""Maximum width and height of a photo, in pixels. Resizing a thin image takes as long as a square one of its length."""
MAX_SCANS = 100
"""Maximum number of scans of a JPEG file. A scan takes few bytes, but decoding it processes all pixels again. Cameras
write one scan, programs about ten."""
MAX_TILE = 25_000_000
"""Maximum number of pixels of a TIFF tile. A tile is decoded as a whole, even if the photo is smaller."""
TILE_TAGS = (322, 323)
"""TIFF tags of the width and height of tiles."""

# of Pillow's own two limits, the one for warnings is below MAX_PIXELS and the one for errors is above
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def read(path: Path) -> bytes:
    """Return the content of the file `path`.

    Raises:
        WhaleidError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise WhaleidError(f"{path}: cannot be read ({error.strerror})") from None


@contextmanager
def open_image(path: Path, content: bytes) -> Iterator[Image.Image]:
    """Open the image file `path` from its `content`, without decoding its pixels.

    An animation is opened at its first frame. Errors that the block raises while decoding are translated too.

    Raises:
        WhaleidError: the file is damaged, its format is not in `FORMATS`, or it exceeds one of the limits above. Limits
            are checked before any pixel is decoded.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if problem := _exceeded_limit(image, content):
                raise WhaleidError(f"{path}: {problem}")
            yield image
    except WhaleidError:
        raise
    except Image.DecompressionBombError:
        raise WhaleidError(f"{path}: over the {MAX_PIXELS:,} pixels allowed") from None
    except UnidentifiedImageError:
        raise WhaleidError(f"{path}: {'no image in a format that is known' if content else 'an empty file'}") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and others on damaged bytes
        raise WhaleidError(f"{path}: damaged or unreadable ({error})") from None


def _exceeded_limit(image: Image.Image, content: bytes) -> str:
    """Describe the limit of work or memory that `image` exceeds; an empty string if there is none."""
    size = f"{image.width} x {image.height} pixels"
    if image.width * image.height > MAX_PIXELS:
        return f"{size}, over the {MAX_PIXELS:,} allowed"
    if max(image.size) > MAX_SIDE:
        return f"{size}, over the {MAX_SIDE:,} allowed a side"
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        scans = content.count(b"\xff\xda")  # within a scan, 0xff is followed by 0
        return f"{scans:,} scans, over the {MAX_SCANS} allowed: save the photo anew" if scans > MAX_SCANS else ""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width, height = (image.tag_v2.get(tag, 0) for tag in TILE_TAGS)
        if width * height > MAX_TILE:
            return f"tiles of {width} x {height} pixels, over the {MAX_TILE:,} allowed"
    return ""


def decode(path: Path, min_side: int | None = None, content: bytes | None = None) -> Image.Image:
    """Decode the photo `path` in mode L or RGB, rotated upright by its EXIF orientation.

    Args:
        path: file of the photo.
        min_side: if not None, decode a JPEG file at 1/2, 1/4 or 1/8 of its size, which is faster, as long as both sides
            keep at least this number of pixels.
        content: content of the file, if it has been read already.

    Raises:
        WhaleidError: as `read` and `open_image`.
    """
    with open_image(path, read(path) if content is None else content) as image:
        if min_side is not None:
            image.draft(None, (min_side, min_side))
        return simplify(ImageOps.exif_transpose(image))


def simplify(image: Image.Image) -> Image.Image:
    """Convert `image` to mode L if it is grey, else to RGB. Transparent pixels become white."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith("I"):  # 16 bits of grey
        return Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
    grey = image.mode in ("1", "LA")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("L" if grey else "RGB")
