"""Detect photos and their formats by content, since suffixes are often missing or wrong."""

import re
from pathlib import Path

from PIL import features

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", *(("AVIF",) if features.check("avif") else ()))
"""The formats that Pillow reads by itself, by its names."""
HEIF = "HEIF"
"""Pillow's name of HEIC images, which the extra `heic` reads."""
IMAGES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"),
    *(".avif", ".heic", ".heif", ".hif", ".jp2", ".jxl", ".psd"),
)
RAW = (
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    *(".3fr", ".dcr", ".erf", ".gpr", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".raw", ".rwl", ".x3f"),
)
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".3gp")
"""Suffixes of images, RAW photos and videos, supported or not. Files with other suffixes are detected by content."""
HEAD = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|BM.{4}\0{4}|II\*\0|MM\0\*|RIFF.{4}(WEBP|AVI )|.{4}ftyp|"
    rb"\xff\x0a|\0\0\0\x0c(JXL |jP  )|\x1aE\xdf\xa3|FUJIFILMCCD-RAW",
    re.DOTALL,
)
"""Matches the first bytes of photos and videos."""
CATALOGUE_HEAD = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n")
"""Matches the first bytes of the formats that a catalogue accepts: JPEG and PNG."""
CATALOGUE_SUFFIXES = (".jpg", ".jpeg", ".png")
"""Suffixes of the photos in a catalogue folder, compared in lower case."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
RAW_PROBLEM = "a RAW photo: export it as JPEG"
SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin")
"""Files and folders that Windows, macOS and network disks create, in lower case."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name belongs to the operating system rather than to the user."""
    return name.startswith(".") or name.casefold() in SYSTEM_FILES


def readable_formats(content: bytes) -> tuple[str, ...]:
    """Return the formats that Pillow may open `content` as. The reader of HEIC images is loaded for these only."""
    if content[4:8] != b"ftyp" or content[8:12] not in HEIC_BRANDS:
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError:  # the extra `heic` is not installed
        return FORMATS
    register_heif_opener()
    return (HEIF, *FORMATS)


def is_photo(path: Path) -> bool:
    """Return whether the file `path` is a photo or a video, by its suffix or its content, supported or not."""
    return path.suffix.lower() in (*IMAGES, *RAW, *VIDEOS) or HEAD.match(_head(path)) is not None


def is_accepted(path: Path) -> bool:
    """Return whether a catalogue accepts the format of the photo `path`; damaged photos count by their suffix."""
    head = _head(path)
    return bool(CATALOGUE_HEAD.match(head) or (path.suffix.lower() in CATALOGUE_SUFFIXES and not HEAD.match(head)))


def _head(path: Path) -> bytes:
    """Return the first 16 bytes of a file; no bytes if it does not exist, cannot be read, or is not a regular file."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(16)
    except OSError:
        return b""


def unknown_format(path: Path, content: bytes) -> str:
    """Describe the format of a file that Pillow cannot read, and the remedy if there is one.

    `content` is the content of the file `path`.
    """
    brand = content[8:12] if content[4:8] == b"ftyp" else b""
    if not content:
        return "an empty file"
    if path.suffix.lower() in RAW or brand == b"crx ":
        return RAW_PROBLEM
    if brand in HEIC_BRANDS:
        return "a HEIC image: run `pip install 'whaleid[heic]'`, or save it as JPEG"
    if brand in (b"avif", b"avis"):
        return "an AVIF image, which the installed Pillow cannot read: save it as JPEG"
    if content[4:8] in (b"jP  ", b"JXL ") or content.startswith(b"\xff\x0a"):
        return "a JPEG 2000 or JPEG XL image: save it as JPEG"
    if content.startswith((b"II*\0", b"MM\0*")):
        return "a TIFF image that is damaged, or of a kind that is not read: save it with 8 bits per colour"
    if brand or content.startswith(b"\x1aE\xdf\xa3") or (content[:4], content[8:12]) == (b"RIFF", b"AVI "):
        return "a video: save a picture of it as JPEG"
    return "not an image in a known format"
