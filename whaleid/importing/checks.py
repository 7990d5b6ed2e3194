"""Checks of the names, formats and labels of a source's photos, before any is opened."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from whaleid.catalog.checks import FORMULA, SUFFIXES, input_problems, unwritable
from whaleid.core.errors import InputProblems
from whaleid.importing.source import FOREIGN, Entry, is_hidden

MAX_BYTES = 180
"""Of a photo's name: file systems allow 255, of which a temporary name and digits of the SHA-256 take some."""


def entry_problems(entries: Sequence[Entry]) -> Iterator[InputProblems]:
    """Yield what is wrong with the names, formats and labels of photos, before any is opened."""
    suffixes = [(entry.where, entry.file.suffix.lower()) for entry in entries]
    yield from input_problems(
        "Photos in a format that a catalogue does not take",
        [where for where, suffix in suffixes if suffix in FOREIGN],
        "Save them as JPEG or PNG first; `magick mogrify -format png FILES` of ImageMagick does so without loss.",
    )
    yield from input_problems(
        "Files that are no photos",
        [where for where, suffix in suffixes if suffix not in (*SUFFIXES, *FOREIGN)],
        f"Photos are files named {', '.join(SUFFIXES)}.",
    )
    yield from input_problems(
        "Photos with names that a catalogue cannot have",
        [entry.where for entry in entries if not is_nameable(entry.file)],
        f"Rename them: no control characters, none of . {' '.join(FORMULA[:4])} at the beginning, no more than "
        f"{MAX_BYTES} bytes.",
    )
    labels = sorted({entry.label or entry.truth for entry in entries} - {""})
    yield from input_problems(
        "Names of whales that hold white space or control characters",
        [repr(label) for label in labels if label.split() != [label] or unwritable(label)],
        "Rename these whales, with _ for a space: a space separates names in submissions.",
    )
    yield from input_problems(
        "Names of whales that a spreadsheet would run as a formula",
        [repr(label) for label in labels if label.startswith(FORMULA)],
        f"Rename these whales: a name begins with none of {' '.join(FORMULA[:4])}.",
    )


def is_nameable(file: Path) -> bool:
    """Return whether a catalogue can have a photo of this name."""
    name = file.name
    odd = unwritable(str(file)) or is_hidden(name) or name.startswith(FORMULA)
    return not odd and len(name.encode()) <= MAX_BYTES
