"""Checks of a source's photos: names, places, formats, labels, and whether each can be decoded."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from whaleid.catalog.checks import FORMULA, SUFFIXES, has_unsafe_characters, is_file, label_problems
from whaleid.core.errors import InputProblems, raise_all
from whaleid.images.fingerprint import CATALOGUE_FORMATS, Fingerprint, fingerprints
from whaleid.importing.source import FOREIGN, Source, is_hidden, leads_out

MAX_BYTES = 180
"""Of a photo's name: file systems allow 255, of which a temporary name and digits of the SHA-256 take some."""
NAME = (
    "Photos with names that a catalogue cannot have",
    f"Rename them: no control characters, none of . {' '.join(FORMULA[:4])} at the beginning, no more than "
    f"{MAX_BYTES} bytes.",
)
OUTSIDE = ("Photos that lie outside of their source", "Put them into its folder; --photos DIR names another one.")
FORMAT = (
    "Photos in a format that a catalogue does not take",
    "Save them as JPEG or PNG first; `magick mogrify -format png FILES` of ImageMagick does so without loss.",
)
NO_PHOTO = ("Files that are no photos", f"Photos are files named {', '.join(SUFFIXES)}.")
MISSING = ("Photos that are not there", "Correct their paths; --photos DIR names the folder that they begin at.")
UNREADABLE = ("Photos that cannot be used", "Replace these files, or take them out of the source.")


def check(sources: Sequence[Source]) -> list[Fingerprint]:
    """Return the fingerprint of each photo of `sources`.

    Raises:
        WhaleidError: photos or labels that cannot be used; names all of them.
    """
    places = defaultdict(list)
    files = []
    for source in sources:
        root = source.root.resolve()
        for entry in source.entries:
            if problem := photo_problem(entry.file, root):
                places[problem].append(entry.where)
            else:
                files.append(entry.file)
    read = fingerprints(files, CATALOGUE_FORMATS)
    if unreadable := [each for each in read if isinstance(each, str)]:
        places[UNREADABLE] = unreadable
    labels = {entry.label or entry.truth for source in sources for entry in source.entries} - {""}
    problems = [InputProblems(what, where, remedy) for (what, remedy), where in places.items()]
    raise_all([*problems, *label_problems("Names of whales", [(repr(label), label) for label in sorted(labels)])])
    return [each for each in read if isinstance(each, Fingerprint)]


def photo_problem(file: Path, root: Path) -> tuple[str, str] | None:
    """Return what is wrong with a photo of a source whose resolved folder is `root`, and the remedy; opens no photo."""
    name, suffix = file.name, file.suffix.lower()
    if (
        has_unsafe_characters(str(file))
        or is_hidden(name)
        or name.startswith(FORMULA)
        or len(name.encode()) > MAX_BYTES
    ):
        return NAME
    if leads_out(file, root):
        return OUTSIDE
    if suffix in FOREIGN:
        return FORMAT
    if suffix not in SUFFIXES:
        return NO_PHOTO
    return None if is_file(file) else MISSING
