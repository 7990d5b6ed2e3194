"""The photos of a source, as a catalogue is to hold them: where each lies, its name, its whale, its box."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from whaleid.catalog.checks import SUFFIXES, found
from whaleid.core.errors import InputProblems
from whaleid.core.labels import NEW_WHALE

FOREIGN = (
    *(".tif", ".tiff", ".webp", ".bmp", ".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Suffixes of images that a catalogue does not take."""
UNNAMED = ("", "unknown")
"""What sources write, in any case of letters, where the whale has no name."""


@dataclass(frozen=True)
class Box:
    """Where the fluke lies: left, top, right and bottom, in pixels of the photo upright or as fractions of its size."""

    corners: tuple[float, float, float, float]
    pixels: bool
    aspect: float | None = None
    """Width / height before the photo was squeezed, where that is known."""


@dataclass(frozen=True)
class Entry:
    """A photo of a source."""

    file: Path
    label: str
    """The whale, `new_whale`, or an empty string: a photo to identify."""
    where: str
    """What the source calls it, for messages."""
    box: Box | None = None
    truth: str = ""
    """Of a photo to identify, where the source knows it."""


@dataclass(frozen=True)
class Source:
    """What a source holds."""

    kind: str
    """What it was taken for."""
    root: Path
    """No photo may lie outside of it."""
    entries: Sequence[Entry]
    keyed: bool = False
    """Whether names are keys, as in a catalogue: the same picture may then stand under several names and labels."""
    submission: bool = False
    """Whether it has a `sample_submission.csv`."""
    others: int = 0
    """Files that are no images."""


def label(text: str) -> str:
    """Return the label that `text`, a whale's name in a source, stands for."""
    return NEW_WHALE if text.casefold() in (*UNNAMED, NEW_WHALE) else text


def hidden(name: str) -> bool:
    """Tell whether a file or folder of this name is none of the user's."""
    return name.startswith((".", "__MACOSX"))


def images(folder: Path) -> tuple[list[Path], int]:
    """Return the images of any format below `folder`, sorted, and the number of other files; hidden ones are neither.

    Raises:
        InputProblems: links to folders are among them.
    """
    photos, others, links = [], 0, []
    for place, folders, files in os.walk(folder, onerror=_failed):
        folders[:] = [name for name in folders if not hidden(name)]
        links += [repr(str(path)) for path in (Path(place, name) for name in folders) if path.is_symlink()]
        for name in files:
            if hidden(name):
                continue
            if Path(name).suffix.lower() in (*SUFFIXES, *FOREIGN):
                photos.append(Path(place, name))
            else:
                others += 1
    if links:
        raise InputProblems(
            "Links to folders", sorted(links), "None is followed: copy what they lead to, or remove them."
        )
    return sorted(photos), others


def _failed(error: OSError) -> None:
    raise error


def escaping(root: Path, entries: Sequence[Entry]) -> Iterator[InputProblems]:
    """Yield which photos lie outside of the folder `root`, by links or by the paths that a table gives."""
    home = os.path.realpath(root)
    out = [entry.where for entry in entries if not Path(os.path.realpath(entry.file)).is_relative_to(home)]
    yield from found(f"Photos that lie outside of {root}", out, "Put them into that folder.")


def require_inside(root: Path, files: Sequence[Path]) -> None:
    """Refuse links among `files` of the folder `root` that lead out of it.

    Raises:
        InputProblems: there are some.
    """
    home = os.path.realpath(root)
    out = [path.name for path in files if not Path(os.path.realpath(path)).is_relative_to(home)]
    for problems in found(f"Files that lie outside of {root}", out, "Put them into that folder."):
        raise problems
