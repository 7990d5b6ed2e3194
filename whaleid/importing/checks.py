"""Checks of a source's photos: names, folders, formats, labels, and whether each photo can be decoded."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from whaleid.catalog.checks import FORMULA, has_unsafe_characters, is_file, label_problems
from whaleid.core.errors import InputProblems, raise_all
from whaleid.core.formats import is_accepted, is_hidden, is_photo
from whaleid.images.fingerprint import CATALOGUE_FORMATS, Fingerprint, fingerprints
from whaleid.importing.source import Source, is_outside

MAX_BYTES = 180
"""Maximum length of a photo's name. File systems allow 255 bytes; a temporary name and SHA-256 digits need the rest."""
NAME = (
    "Photos with names that cannot be used",
    f"Rename them. A name must not begin with . {' '.join(FORMULA[:4])}, must not contain control characters or "
    f"backslashes, and must have at most {MAX_BYTES} bytes (letters with accents have two or more).",
)
OUTSIDE = (
    "Photos that are not inside the folder that is imported",
    "Copy them into that folder. For a csv or COCO file, --photos DIR names the folder that contains the photos.",
)
FORMAT = (
    "Photos in a format that a catalogue does not accept",
    "Save them as JPEG or PNG and import again. ImageMagick converts images, except RAW photos, without loss: "
    "`magick mogrify -format png FILES`.",
)
NOT_A_PHOTO = ("Files that are not photos", "Correct the paths.")
MISSING = (
    "Photos that do not exist",
    "Correct the paths, or give the folder from which they start: --photos DIR. Download photos that are web "
    "addresses.",
)
UNREADABLE = ("Photos that cannot be used", "Replace these files, or remove them from the source.")


def accepted(sources: Sequence[Source]) -> tuple[list[Source], list[str]]:
    """Exclude photos in formats that a catalogue does not accept; return the others, and where these are listed."""
    excluded, kept = [], []
    for source in sources:
        refused = {
            file
            for file in (entry.file for entry in source.entries)
            if is_file(file) and is_photo(file) and not is_accepted(file)
        }
        excluded += [entry.location for entry in source.entries if entry.file in refused]
        kept.append(replace(source, entries=[entry for entry in source.entries if entry.file not in refused]))
    return kept, excluded


def check(sources: Sequence[Source]) -> list[Fingerprint]:
    """Check all photos and labels of `sources` and compute the fingerprint of each photo, in order.

    Raises:
        WhaleidError: photos or labels cannot be used; the error lists all of them.
    """
    locations = defaultdict(list)
    files = []
    for source in sources:
        root = source.root.resolve()
        for entry in source.entries:
            if problem := photo_problem(entry.file, root):
                locations[problem].append(entry.location)
            else:
                files.append(entry.file)
    results = fingerprints(files, CATALOGUE_FORMATS)
    if unreadable := [result for result in results if isinstance(result, str)]:
        locations[UNREADABLE] = unreadable
    by_label = defaultdict(list)  # locations
    for source in sources:
        for entry in source.entries:
            by_label[entry.label or entry.truth].append(entry.location)
    by_label.pop("", None)
    labels = [(f"{label!r}: {_first(by_label[label])}", label) for label in sorted(by_label)]
    problems = [InputProblems(problem, lines, remedy) for (problem, remedy), lines in locations.items()]
    raise_all([*problems, *label_problems("Names of whales", labels)])
    return [result for result in results if isinstance(result, Fingerprint)]


def _first(locations: Sequence[str]) -> str:
    return f"{locations[0]}{f' and {len(locations) - 1:,} more' if len(locations) > 1 else ''}"


def photo_problem(file: Path, root: Path) -> tuple[str, str] | None:
    """Check the path of a photo, in a source with the resolved folder `root`; return a problem and remedy, or None."""
    name = file.name
    if (
        has_unsafe_characters(str(file))
        or is_hidden(name)
        or name.startswith(FORMULA)
        or len(name.encode()) > MAX_BYTES
    ):
        return NAME
    if is_outside(file, root):
        return OUTSIDE
    if not is_file(file):
        return MISSING
    if "\\" in name:  # a file of this name exists, so it is not a path of Windows
        return NAME
    if not is_photo(file):
        return NOT_A_PHOTO
    return None if is_accepted(file) else FORMAT
