"""What a source of photos holds: for each photo its file, its label and its box."""

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
"""Suffixes of images that a catalogue does not take."""
UNNAMED = ("", "unknown")
"""Names that sources give whales without a name, in any case of letters."""
OVERHANG = 1.5
"""Pixels by which a box may reach out of its photo: rounding causes as much, and it is cut off."""
Box = tuple[float, ...]
"""x0, y0, x1, y1 as fractions of width and height, and maybe the aspect: width / height before a squeeze."""


@dataclass(frozen=True)
class Rectangle:
    """The box of a fluke as a source gives it."""

    corners: tuple[float, ...]  # left, top, right and bottom of the upright photo
    pixels: bool = True  # whether corners are in pixels; otherwise they are fractions of width and height
    aspect: float = math.nan  # width / height before the photo was squeezed, where it is known

    def as_fractions(self, width: int, height: int) -> Box:
        """Return the box as fractions of a photo; what reaches out of it by `OVERHANG` or less is cut off."""
        fractions = []
        for corner, side in zip(self.corners, (width, height) * 2, strict=True):
            fraction = corner / side if self.pixels else corner
            inside = min(max(fraction, 0.0), 1.0)
            fraction = inside if abs(inside - fraction) * side <= OVERHANG else fraction
            fractions.append(float(f"{fraction:.6g}"))  # as it is written
        return *fractions, width / height if math.isnan(self.aspect) else self.aspect


def from_bbox(bbox: Sequence[float]) -> Rectangle:
    """Return the rectangle of `bbox`: x, y, width and height in pixels.

    Raises:
        TypeError, ValueError, OverflowError: it is not four numbers.
    """
    x, y, width, height = map(float, bbox)
    return Rectangle((x, y, x + width, y + height))


def holds_pixels(box: Box, width: int, height: int) -> bool:
    """Return whether a box lies inside of its photo and has a pixel's width and height at least."""
    x0, y0, x1, y1, *_ = box
    inside = 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    return inside and (x1 - x0) * width >= 1 and (y1 - y0) * height >= 1


@dataclass(frozen=True)
class Entry:
    """A photo of a source."""

    file: Path
    label: str  # the whale, `new_whale`, or an empty string for a query
    where: str  # where the source names the photo, for messages
    rectangle: Rectangle | None = None
    truth: str = ""  # the label of a query, where the source has it
    keyed: bool = False
    """Whether the file's name is a key, as in a catalogue: the same picture may have several names and labels."""


@dataclass(frozen=True)
class Source:
    """The photos of a source."""

    kind: str  # what the source was read as, for the summary
    root: Path  # the folder that holds all photos
    entries: Sequence[Entry]
    submission: bool = False  # whether it has a `sample_submission.csv`
    skipped_files: int = 0  # number of files that are no images


def label(name: str) -> str:
    """Return the label for `name`, a whale's name in a source."""
    return NEW_WHALE if name.casefold() in (*UNNAMED, NEW_WHALE) else name


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name belongs to the system rather than to the user."""
    return name.startswith((".", "__MACOSX"))


def leads_out(file: Path, folder: Path) -> bool:
    """Return whether `file` lies outside of `folder`, which is resolved, once its links are followed."""
    return not Path(os.path.realpath(file)).is_relative_to(folder)


def require_inside(root: Path, files: Iterable[Path]) -> None:
    """Raise InputProblems if one of `files` of the folder `root` is a link that leads out of it."""
    if outside := [path.name for path in files if leads_out(path, root.resolve())]:
        raise InputProblems(f"Files that lie outside of {root}", outside, "Put them into that folder.")
