"""The photos of a source: for each its file, its label and its box."""

import math
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from whaleid.catalog.checks import is_file
from whaleid.core.errors import InputProblems

DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")
"""Where DVC keeps the content of files that it replaces with links."""
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
"""Suffixes of tables that are not read, so that an error can say so."""
SAVE_AS_CSV = "spreadsheets cannot be read. Save it as csv (in Excel: CSV UTF-8) and import that."
"""Problem and remedy of a spreadsheet."""
NOTED = 3
"""Maximum number of places listed in a line of the summary."""
OVERHANG = 1.5
"""Maximum number of pixels, caused by rounding, by which a box may exceed its photo before it is clipped."""
NO_NAME = " "
"""The label of a photo that is not a query and for which the source names no whale."""
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


def from_corners(corners: Iterable[str | float]) -> Rectangle:
    """Convert `corners`, left, top, right and bottom edge, to a rectangle in pixels.

    Raises:
        ValueError: one is not a finite number, or the box has no width or no height.
    """
    x0, y0, x1, y1 = map(float, corners)
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x0 == x1 or y0 == y1:
        raise ValueError(f"not a box: {x0}, {y0}, {x1}, {y1}")
    return Rectangle((x0, y0, x1, y1))


def from_bbox(bbox: object) -> Rectangle:
    """Convert `bbox`, a list of x, y, width and height in pixels, to a rectangle.

    Raises:
        TypeError, ValueError, OverflowError: `bbox` is not four finite numbers, or has no width or no height.
    """
    if not isinstance(bbox, list):
        raise TypeError(f"not a list: {bbox}")
    x, y, width, height = map(float, bbox)
    if width <= 0 or height <= 0:
        raise ValueError(f"empty: {bbox}")
    return from_corners((x, y, x + width, y + height))


def is_valid_box(box: Box, width: int, height: int) -> bool:
    """Return whether a box lies within its photo and is at least one pixel wide and high."""
    x0, y0, x1, y1, *_ = box
    inside = 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    return inside and (x1 - x0) * width >= 1 and (y1 - y0) * height >= 1


@dataclass(frozen=True)
class Entry:
    """A photo of a source."""

    file: Path
    label: str  # the whale as the source names it, or an empty string for a query, or `NO_NAME`
    location: str  # where the source lists the photo, for messages: `birds.csv, line 4: 'a.png'`
    rectangle: Rectangle | None = None
    truth: str = ""  # the whale of a query, if the source has it
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
    notes: Sequence[str] = ()  # lines for the summary


def note(text: str, locations: Sequence[str]) -> list[str]:
    """Return a line for the summary: the number of `locations`, `text` and the first locations; none without any."""
    more = "; …" if len(locations) > NOTED else ""
    return [f"{len(locations):,} {text}: {'; '.join(locations[:NOTED])}{more}"] if locations else []


@dataclass(frozen=True)
class Photos:
    """Photos that a table may name without their folders."""

    files: Sequence[Path]

    @cached_property
    def by_end(self) -> dict[tuple[str, ...], list[Path]]:
        """The photos by each end of their paths, in Unicode's form NFC: `("a.jpg",)`, `("2019", "a.jpg")`, …."""
        groups = defaultdict(list)
        for file in self.files:
            parts = PurePath(unicodedata.normalize("NFC", str(file))).parts
            for start in range(len(parts)):
                groups[parts[start:]].append(file)
        return dict(groups)

    @cached_property
    def by_stem(self) -> dict[str, list[Path]]:
        """The photos by name, without suffix and in any case."""
        groups = defaultdict(list)
        for file in self.files:
            groups[unicodedata.normalize("NFC", file.stem).casefold()].append(file)
        return dict(groups)


Index = Callable[[], Photos]
"""Returns the photos that tables may name without their folders; called if one is needed."""


def find_file(root: Path, text: str, photos: Index | None = None) -> Path:
    """Return the file that a table names by `text`: below `root`, else the only one of `photos` whose path ends so.

    Tables made on Windows have backslashes between folders; macOS writes accents in Unicode's form NFD. White space
    around a path is ignored, unless the file has it.
    """
    slashes = text.strip().replace("\\", "/")
    composed = unicodedata.normalize("NFC", slashes)
    for form in (text, slashes, composed, unicodedata.normalize("NFD", slashes)):
        if is_file(root / form):
            return root / form
    matches = photos().by_end.get(PurePath(composed).parts, []) if photos else []
    return matches[0] if len(matches) == 1 else root / text


def missing_hint(file: Path, text: str, photos: Index | None) -> str:
    """Return, in brackets, the photos that `text` may mean if `file`, the result of `find_file`, does not exist."""
    if photos is None or is_file(file):
        return ""
    path = PurePath(unicodedata.normalize("NFC", text.strip().replace("\\", "/")))
    if matches := photos().by_end.get(path.parts, []):
        more = ", …" if len(matches) > NOTED else ""
        return f" ({len(matches):,} files have this name: {', '.join(map(str, matches[:NOTED]))}{more})"
    for stem in (path.name, path.stem):
        if len(similar := photos().by_stem.get(stem.casefold(), [])) == 1:
            return f" (did you mean {similar[0].name!r}?)"
    return ""


def is_outside(file: Path, folder: Path) -> bool:
    """Return whether `file`, with its links followed, lies outside of the resolved path `folder` and DVC's cache."""
    path = Path(os.path.realpath(file))
    return not path.is_relative_to(folder) and not DVC_CACHE.search(path.as_posix())


def require_inside(root: Path, files: Iterable[Path]) -> None:
    """Raise InputProblems if one of `files` in the folder `root` is a link to a file outside of it."""
    if outside := [path.name for path in files if is_outside(path, root.resolve())]:
        raise InputProblems(f"Links to files outside of {root}", outside, "Replace each link with the file itself.")
