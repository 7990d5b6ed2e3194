"""The photos of a source: for each its file, its label and its box."""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from whaleid.core.errors import InputProblems
from whaleid.core.labels import NEW_WHALE

FOREIGN = (
    *(".tif", ".tiff", ".webp", ".bmp", ".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Suffixes of image formats that a catalogue does not accept."""
UNNAMED = ("", "unknown")
"""Names that sources use for whales without a name. Case does not matter."""
OVERHANG = 1.5
"""Maximum number of pixels, caused by rounding, by which a box may exceed its photo before it is clipped."""
Box = tuple[float, ...]
"""`x0, y0, x1, y1` as fractions of width and height, optionally followed by the aspect of `Rectangle`."""


@dataclass(frozen=True)
class Rectangle:
    """The box of a fluke, in the units of its source."""

    corners: tuple[float, ...]  # left, top, right and bottom edge on the upright photo
    pixels: bool = True  # whether corners are in pixels; otherwise they are fractions of width and height
    aspect: float = math.nan  # width / height before the photo was resized to another shape; NaN if unknown

    def as_fractions(self, width: int, height: int) -> Box:
        """Convert the box to fractions of a photo of `width` x `height` pixels; clip an excess of up to `OVERHANG`."""
        fractions = []
        for corner, side in zip(self.corners, (width, height) * 2, strict=True):
            fraction = corner / side if self.pixels else corner
            clipped = min(max(fraction, 0.0), 1.0)
            fraction = clipped if abs(clipped - fraction) * side <= OVERHANG else fraction
            fractions.append(float(f"{fraction:.6g}"))  # boxes.csv has six significant digits
        return *fractions, width / height if math.isnan(self.aspect) else self.aspect


def from_bbox(bbox: Sequence[float]) -> Rectangle:
    """Convert `bbox`, which is x, y, width and height in pixels, to a rectangle.

    Raises:
        TypeError, ValueError, OverflowError: `bbox` is not four numbers.
    """
    x, y, width, height = map(float, bbox)
    return Rectangle((x, y, x + width, y + height))


def is_valid_box(box: Box, width: int, height: int) -> bool:
    """Return whether a box lies within its photo and is at least one pixel wide and high."""
    x0, y0, x1, y1, *_ = box
    inside = 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    return inside and (x1 - x0) * width >= 1 and (y1 - y0) * height >= 1


@dataclass(frozen=True)
class Entry:
    """A photo of a source."""

    file: Path
    label: str  # the whale, `new_whale`, or an empty string for a query
    location: str  # where the source lists the photo, for messages: `birds.csv, line 4: 'a.png'`
    rectangle: Rectangle | None = None
    truth: str = ""  # the true label of a query, if the source has it
    name_is_key: bool = False
    """Whether the file's name identifies the photo, as in a catalogue. Otherwise identical files are one photo."""


@dataclass(frozen=True)
class Source:
    """The photos of a source."""

    kind: str  # what the source was read as, for the summary
    root: Path  # the folder that contains all photos
    entries: Sequence[Entry]
    submission: bool = False  # whether the source has a `sample_submission.csv`
    skipped_files: int = 0  # number of files that are not images


def to_label(name: str) -> str:
    """Convert the name that a source gives a whale to a label: `new_whale` for a whale without a name."""
    return NEW_WHALE if name.casefold() in (*UNNAMED, NEW_WHALE) else name


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name belongs to the operating system rather than to the user."""
    return name.startswith((".", "__MACOSX"))


def is_outside(file: Path, folder: Path) -> bool:
    """Return whether `file`, with its links followed, lies outside of the resolved path `folder`."""
    return not Path(os.path.realpath(file)).is_relative_to(folder)


def require_inside(root: Path, files: Iterable[Path]) -> None:
    """Raise InputProblems if one of `files` in the folder `root` is a link to a file outside of it."""
    if outside := [path.name for path in files if is_outside(path, root.resolve())]:
        raise InputProblems(f"Links to files outside of {root}", outside, "Replace each link with the file itself.")
