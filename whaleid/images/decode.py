"""Photos from files: upright, in one of two modes; files of unknown origin are checked first."""

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
TILE = (322, 323)
"""Tags of a TIFF file: width and height of its tiles. A tile is decoded whole, however small the photo is."""


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open the image file `path`, whose `content` may have been read already; its pixels are not decoded yet.

    Of an animation, this is the first picture. Errors in the block that decodes it are raised in the same way.

    Raises:
        WhaleidError: the file is of none of `FORMATS`, cannot be read, breaks off or is damaged, has more than
            `MAX_PIXELS` pixels or `MAX_SIDE` along a side, or would take more work than that. The last three are raised
            before any pixel is decoded.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's own limits lie on both sides of MAX_PIXELS: it warns at one and raises at the other
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path if content is None else io.BytesIO(content), formats=FORMATS)
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise WhaleidError(f"{path}: {image.width} x {image.height} pixels, over the {MAX_PIXELS:,} allowed")
            if max(image.size) > MAX_SIDE:
                raise WhaleidError(
                    f"{path}: {image.width} x {image.height} pixels, over the {MAX_SIDE:,} allowed a side"
                )
            _check_work(image, path)
            yield image
    except WhaleidError:
        raise
    except Image.DecompressionBombError:
        raise WhaleidError(f"{path}: over the {MAX_PIXELS:,} pixels allowed") from None
    except UnidentifiedImageError:
        empty = content == b"" or (content is None and path.stat().st_size == 0)
        raise WhaleidError(f"{path}: {'an empty file' if empty else 'no image in a format that is known'}") from None
    except Exception as error:  # on damaged bytes Pillow raises OSError, SyntaxError, ValueError and more
        raise WhaleidError(f"{path}: damaged or unreadable ({error})") from None


def _check_work(image: Image.Image, path: Path) -> None:
    """Raise WhaleidError for a file that would take far more work or memory than its number of pixels."""
    if isinstance(image, JpegImagePlugin.JpegImageFile) and image.fp:
        file = image.fp
        at = file.tell()
        file.seek(0)
        scans = file.read().count(b"\xff\xda")  # within a scan, 0xff is followed by 0
        file.seek(at)
        if scans > MAX_SCANS:
            raise WhaleidError(f"{path}: {scans:,} scans, over the {MAX_SCANS} allowed: save the photo anew")
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        width, height = (image.tag_v2.get(tag, 0) for tag in TILE)
        if width * height > MAX_PIXELS // 4:
            raise WhaleidError(f"{path}: tiles of {width} x {height} pixels, over the {MAX_PIXELS // 4:,} allowed")


def load(path: Path, least: int | None = None, content: bytes | None = None) -> Image.Image:
    """Decode the image file `path` in the mode it is stored in, upright by its EXIF orientation.

    Its `content` may have been read already. With `least`, a JPEG file is decoded at a half, a quarter or an eighth of
    its size, in a fraction of the time, if both sides still have `least` pixels.

    Raises:
        WhaleidError: as `opened`.
    """
    with opened(path, content) as image:
        if least is not None:
            image.draft(None, (least, least))
        image.load()
        return ImageOps.exif_transpose(image)


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


def decode(path: Path, least: int | None = None, content: bytes | None = None) -> Image.Image:
    """Decode the photo `path`, upright, in mode L or RGB; `least` and `content` as in `load`.

    Raises:
        WhaleidError: as `load`.
    """
    return simplify(load(path, least, content))
