"""Photos from files: upright, in one of two modes, and refused where a file cannot be trusted."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from whaleid.core.errors import WhaleidError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")
"""What is read, by Pillow's names."""
MAX_PIXELS = 100_000_000
"""More than any camera in use takes; a decoded photo of this size needs 300 MB."""
MAX_SIDE = 30_000
"""Pixels: what is longer is a line, which takes as long to go through as a photo of its length squared."""
MAX_SCANS = 100
"""Of a JPEG file: each goes over all pixels again, and takes but some bytes. Cameras write one, programs ten."""
TILE = (322, 323)
"""Tags of a TIFF file: width and height of its tiles. A tile is unpacked whole, however small the photo is."""


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open the image file `path`, of which `content` was read already or is None; its pixels are not decoded yet.

    Whatever is wrong with the file, also while the block decodes it, is raised as one kind of error. Of an animation,
    the first picture is taken.

    Raises:
        WhaleidError: the file is of none of `FORMATS`, cannot be read, breaks off, is damaged, or has more than
            `MAX_PIXELS` pixels, `MAX_SIDE` along a side or asks for more work than that (told before any pixel is
            decoded).
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns and then refuses by limits of its own, which lie on both sides of MAX_PIXELS
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path if content is None else io.BytesIO(content), formats=FORMATS)
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise WhaleidError(f"{path}: {image.width} x {image.height} pixels, over the {MAX_PIXELS:,} allowed")
            if max(image.size) > MAX_SIDE:
                raise WhaleidError(
                    f"{path}: {image.width} x {image.height} pixels, over the {MAX_SIDE:,} allowed a side"
                )
            _refuse_work(image, path)
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


def _refuse_work(image: Image.Image, path: Path) -> None:
    """Refuse a file that asks for far more work or memory than its pixels are worth.

    Raises:
        WhaleidError: it does.
    """
    if isinstance(image, JpegImagePlugin.JpegImageFile) and image.fp:
        file = image.fp
        at = file.tell()
        file.seek(0)
        scans = file.read().count(b"\xff\xda")  # among pixels, no other byte than 0 follows 0xff
        file.seek(at)
        if scans > MAX_SCANS:
            raise WhaleidError(f"{path}: {scans:,} scans, over the {MAX_SCANS} allowed: save the photo anew")
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        width, height = (image.tag_v2.get(tag, 0) for tag in TILE)
        if width * height > MAX_PIXELS // 4:
            raise WhaleidError(f"{path}: tiles of {width} x {height} pixels, over the {MAX_PIXELS // 4:,} allowed")


def load(path: Path, least: int | None = None, content: bytes | None = None) -> Image.Image:
    """Read the image file `path` whole, in the mode it is stored in, upright by its EXIF orientation.

    Its `content` may have been read already. With `least`, a photo of which no side need have more pixels than that may
    come smaller, by 2, 4 or 8: a JPEG file is read so in a fraction of the time.

    Raises:
        WhaleidError: as `opened`.
    """
    with opened(path, content) as image:
        if least is not None:
            image.draft(None, (least, least))
        image.load()
        return ImageOps.exif_transpose(image)


def simplify(image: Image.Image) -> Image.Image:
    """Return `image` in mode L if it is grey, else in RGB; what shows through transparency is white."""
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
    """Read the photo `path`, upright, in mode L or RGB; `least` and `content` as in `load`.

    Raises:
        WhaleidError: as `load`.
    """
    return simplify(load(path, least, content))
