"""What a source of photos holds: for each photo its file, its whale and its box."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from whaleid.catalog.checks import SUFFIXES, input_problems
from whaleid.core.errors import InputProblems
from whaleid.core.labels import NEW_WHALE
from whaleid.importing.rectangle import Rectangle

FOREIGN = (
    *(".tif", ".tiff", ".webp", ".bmp", ".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Suffixes of images that a catalogue does not take."""
UNNAMED = ("", "unknown")
"""Names that sources give whales without a name, in any case of letters."""


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
    others: int = 0  # number of files that are no images


def label(name: str) -> str:
    """Return the label for `name`, a whale's name in a source."""
    return NEW_WHALE if name.casefold() in (*UNNAMED, NEW_WHALE) else name


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name belongs to the system rather than to the user."""
    return name.startswith((".", "__MACOSX"))


def images(folder: Path) -> tuple[list[Path], int]:
    """List the images of any format below `folder`, sorted, and count the other files; hidden files are left out.

    Raises:
        InputProblems: there are links to folders.
    """
    photos, others, links = [], 0, []
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not is_hidden(name)]
        links += [repr(str(path)) for path in (Path(place, name) for name in folders) if path.is_symlink()]
        visible = [Path(place, name) for name in files if not is_hidden(name)]
        images_here = [path for path in visible if path.suffix.lower() in (*SUFFIXES, *FOREIGN)]
        photos += images_here
        others += len(visible) - len(images_here)
    if links:
        raise InputProblems(
            "Links to folders", sorted(links), "Links are not followed: copy the folders, or remove them."
        )
    return sorted(photos), others


def _raise(error: OSError) -> None:
    raise error


def outside(root: Path, files: Iterable[tuple[str, Path]], what: str = "Photos") -> Iterator[InputProblems]:
    """Yield which of `files`, each with its place for messages, lie outside of the folder `root`, links resolved."""
    home = os.path.realpath(root)
    places = [where for where, file in files if not Path(os.path.realpath(file)).is_relative_to(home)]
    yield from input_problems(f"{what} that lie outside of {root}", places, "Put them into that folder.")


def require_inside(root: Path, files: Iterable[Path]) -> None:
    """Raise InputProblems if one of `files` of the folder `root` is a link that leads out of it."""
    for problem in outside(root, ((path.name, path) for path in files), "Files"):
        raise problem
