"""Which files are photos, and which formats are read: by content, since suffixes are often missing or wrong."""

import re
from pathlib import Path

from PIL import features

try:
    from pillow_heif import register_heif_opener
except ImportError:  # the extra `heic` is not installed
    HEIC = False
else:
    register_heif_opener()
    HEIC = True

FORMATS = (
    *("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"),
    *(("AVIF",) if features.check("avif") else ()),
    *(("HEIF",) if HEIC else ()),
)
"""Pillow's names of the formats that are read."""
IMAGES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"),
    *(".avif", ".heic", ".heif", ".hif", ".jp2", ".jxl"),
)
RAW = (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".3gp")
"""Suffixes of what people mean to be looked at, whether or not it can be read."""
HEAD = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|BM.{4}\0{4}|II\*\0|MM\0\*|RIFF.{4}(WEBP|AVI )|.{4}ftyp|"
    rb"\xff\x0a|\0\0\0\x0c(JXL |jP  )|\x1aE\xdf\xa3|FUJIFILMCCD-RAW",
    re.DOTALL,
)
"""How the content of photos and videos begins."""
CATALOGUE_HEAD = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n")
"""How the content of the photos begins that a catalogue accepts: JPEG and PNG."""
CATALOGUE_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Suffixes of the photos in a catalogue folder, compared in lower case."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
RAW_PROBLEM = "a RAW photo: export it as JPEG"


def is_photo(path: Path) -> bool:
    """Return whether the file `path` is a photo or a video, by its suffix or its content, whether or not it is read."""
    return path.suffix.lower() in (*IMAGES, *RAW, *VIDEOS) or HEAD.match(_head(path)) is not None


def is_accepted(path: Path) -> bool:
    """Return whether a catalogue accepts the format of the photo `path`; damaged photos count by their suffix."""
    head = _head(path)
    return bool(CATALOGUE_HEAD.match(head) or (path.suffix.lower() in CATALOGUE_SUFFIXES and not HEAD.match(head)))


def _head(path: Path) -> bytes:
    """Return the first bytes of a file; none if it does not exist, cannot be read, or is no plain file."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(16)
    except OSError:
        return b""


def unknown_format(path: Path, content: bytes) -> str:
    """Return what the file `path` is, of which Pillow reads no image."""
    brand = content[8:12] if content[4:8] == b"ftyp" else b""
    if not content:
        return "an empty file"
    if path.suffix.lower() in RAW or brand == b"crx ":
        return RAW_PROBLEM
    if brand in HEIC_BRANDS:
        return "a HEIC image: pip install 'whaleid[heic]' reads it, or save it as JPEG"
    if brand in (b"avif", b"avis"):
        return "an AVIF image, which the Pillow installed here does not read: save it as JPEG"
    if brand or content.startswith(b"\x1aE\xdf\xa3") or (content[:4], content[8:12]) == (b"RIFF", b"AVI "):
        return "a video: save a picture of it as JPEG"
    return "not an image in a known format"
