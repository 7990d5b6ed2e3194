"""Decode photos from untrusted files, upright and in mode L or RGB."""

import ctypes
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import (
    ExifTags,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    _imaging,
)

from whaleid.core.errors import WhaleidError
from whaleid.core.formats import RAW, RAW_PROBLEM, readable_formats, unknown_format

DNG_VERSION = 50706
"""Tag of a TIFF file that makes it a DNG file. A DNG file contains sensor data; Pillow would read only its preview."""
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
SMALLER = "save it at a smaller size"
COPY_AGAIN = "copy it again from the camera or a backup"

MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A JPEG marker, except restart markers, which occur within a scan; in image data, 0xff is followed by 0."""
START, SCAN, END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
APPLICATIONS = [bytes([0xFF, 0xE0 + number]) for number in range(16) if number != 1]
"""Markers of the segments of applications, except EXIF and XMP."""
ADOBE, ADOBE_BYTES = b"\xff\xee", 14
"""Marker and least length of the segment that says how colours are encoded."""
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Pillow's operation that rotates an image upright, by EXIF orientation."""

# Pillow warns of broken metadata, which nobody needs, and of large images, which `open_image` refuses by MAX_PIXELS
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
# libtiff, to which Pillow is linked, prints to standard error by itself
with suppress(AttributeError, OSError):
    libraries = ctypes.CDLL(_imaging.__file__)
    libraries.TIFFSetErrorHandler(None)
    libraries.TIFFSetWarningHandler(None)
# Photo editors write descriptions and colour profiles of several MB, which Pillow refuses by default
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


def read(path: Path) -> bytes:
    """Return the content of the file `path`.

    Raises:
        WhaleidError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise WhaleidError(f"{path} cannot be read ({error.strerror})") from None


@contextmanager
def open_image(path: Path, content: bytes) -> Iterator[Image.Image]:
    """Open the image file `path` from its `content`, without decoding its pixels.

    An animation is opened at its first frame. Errors that the block raises while decoding are translated too.

    Raises:
        WhaleidError: the file is damaged, its format is not supported, or it exceeds one of the limits above. Limits
            are checked before any pixel is decoded.
    """
    try:
        with _open(content) as image:
            if problem := _problem(path, image, content):
                raise WhaleidError(f"{path}: {problem}")
            upper_8_bits = ";16" in str(image.tile) and not image.mode.startswith("I")
            yield image
            # of colours of 16 bits, Pillow keeps the upper 8, in which colours of 12 bits are nearly black
            if upper_8_bits and np.asarray(image.convert("RGB")).max() < 2**4:
                raise WhaleidError(f"{path}: the upper 4 of 16 bits are not used: save it with 8 bits per colour")
    except WhaleidError:
        raise
    except Image.DecompressionBombError:
        raise WhaleidError(f"{path}: over the {MAX_PIXELS:,} pixels allowed: {SMALLER}") from None
    except UnidentifiedImageError:
        raise WhaleidError(f"{path}: {unknown_format(path, content)}") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and others on damaged bytes
        raise WhaleidError(f"{path}: damaged or unreadable ({error}): {COPY_AGAIN}") from None


def _open(content: bytes) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(content), formats=readable_formats(content))
    except UnidentifiedImageError:
        if not content.startswith(START):
            raise
        return Image.open(io.BytesIO(_without_metadata(content)), formats=("JPEG",))


def _without_metadata(content: bytes) -> bytes:
    """Remove from a JPEG file the metadata that makes Pillow refuse it if broken, such as colour profiles."""
    kept, position = START, len(START)
    while (marker := MARKER.search(content, position)) and marker[0] not in (SCAN, END):
        position = _end_of_segment(content, marker)
        is_colour_transform = marker[0] == ADOBE and position - marker.end() >= ADOBE_BYTES
        if marker[0] not in APPLICATIONS or is_colour_transform:
            kept += content[marker.start() : position]
    return kept + content[position:]


def _end_of_segment(content: bytes, marker: re.Match[bytes]) -> int:
    """Return where the segment of a JPEG file that begins with `marker` ends; its first two bytes are its length."""
    return marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")


def _problem(path: Path, image: Image.Image, content: bytes) -> str:
    """Say that `image` is sensor data, or exceeds a limit of work or memory; an empty string if neither."""
    size = f"{image.width} x {image.height} pixels"
    if image.width * image.height > MAX_PIXELS:
        return f"{size}, over the {MAX_PIXELS:,} allowed: {SMALLER}"
    if max(image.size) > MAX_SIDE:
        return f"{size}, over the {MAX_SIDE:,} allowed per side: {SMALLER}"
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        scans = count_scans(content)
        return f"{scans:,} scans, over the {MAX_SCANS} allowed: save the photo again" if scans > MAX_SCANS else ""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if path.suffix.lower() in RAW or DNG_VERSION in image.tag_v2:
            return RAW_PROBLEM
        width, height = (image.tag_v2.get(tag, 0) for tag in TILE_TAGS)
        if width * height > MAX_TILE:
            return f"tiles of {width} x {height} pixels, over the {MAX_TILE:,} allowed: save it as JPEG"
    return ""


def count_scans(content: bytes) -> int:
    """Return the number of scans of the JPEG image that `content` begins with; phones append videos and more images."""
    position, scans = len(START), 0
    while (marker := MARKER.search(content, position)) and marker[0] != END:
        scans += marker[0] == SCAN
        position = _end_of_segment(content, marker)
    return scans


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
        return simplify(upright(image))


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of `image`, 1 to 8; 1 if it has none or its EXIF is broken."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
        value = value[0] if isinstance(value, tuple) else value
    except Exception:  # the errors of Pillow's parser are of many types
        return 1
    return value if value in TRANSPOSES else 1


def upright(image: Image.Image) -> Image.Image:
    """Decode `image` and return it upright, by its EXIF orientation."""
    image.load()  # turns a TIFF image upright and removes its orientation
    method = TRANSPOSES.get(orientation(image))
    return image if method is None else image.transpose(method)


def simplify(image: Image.Image) -> Image.Image:
    """Convert `image` to mode L if it is grey, else to RGB. Transparent pixels become white.

    Raises:
        ValueError: pixels are not finite numbers.
    """
    if image.mode in ("L", "RGB"):
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_8_bits(np.asarray(image)))
    grey = image.mode in ("1", "LA")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("L" if grey else "RGB")


def _to_8_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale grey levels of more than 8 bits, (H, W), to 0 to 255.

    Integers below 2^16 are taken for 8, 10, 12, 14 or 16 bits, the fewest that hold them all. Floats from 0 to 1 are
    multiplied by 255. Any other range, as of 32 bits, is stretched from its lowest to its highest value.
    """
    floats, integers = values.astype(np.float64), values.dtype.kind != "f"
    low, high = floats.min(), floats.max()
    if not np.isfinite(high - low):
        raise ValueError("pixels that are not numbers")
    if integers and low >= 0 and high < 2**16:
        bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 2**bits)
        return (floats / (1 << (bits - 8))).astype(np.uint8)
    if integers or low < 0 or high > 1:
        floats = (floats - low) / max(high - low, 1)
    return np.rint(floats * 255).astype(np.uint8)
