"""Checks of a source's photos: names, folders, formats, labels, and whether each photo can be decoded."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from whaleid.catalog.checks import FORMULA, SUFFIXES, has_unsafe_characters, is_file, label_problems
from whaleid.core.errors import InputProblems, raise_all
from whaleid.images.fingerprint import CATALOGUE_FORMATS, Fingerprint, fingerprints
from whaleid.importing.source import FOREIGN, Source, is_hidden, is_outside

MAX_BYTES = 180
"""Maximum length of a photo's name. File systems allow 255 bytes; a temporary name and SHA-256 digits need the rest."""
NAME = (
    "Photos with names that cannot be used",
    f"Rename them. A name must not begin with . {' '.join(FORMULA[:4])}, must not contain control characters, and must "
    f"have at most {MAX_BYTES} bytes (letters with accents have two or more).",
)
OUTSIDE = (
    "Photos outside of the folder of their source",
    "Copy them into that folder. For a csv or COCO file, --photos DIR names the folder that contains the photos.",
)
FORMAT = (
    "Photos in a format that is not supported",
    "Save them as JPEG or PNG. ImageMagick converts them without loss: `magick mogrify -format png FILES`.",
)
NOT_A_PHOTO = ("Files that are not photos", f"Names of photos end in {', '.join(SUFFIXES)}: correct the paths.")
MISSING = ("Photos that do not exist", "Correct the paths, or name the folder they start from with --photos DIR.")
UNREADABLE = ("Photos that cannot be used", "Replace these files, or remove them from the source.")


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
    labels = {entry.label or entry.truth for source in sources for entry in source.entries} - {""}
    problems = [InputProblems(problem, lines, remedy) for (problem, remedy), lines in locations.items()]
    raise_all([*problems, *label_problems("Names of whales", [(repr(label), label) for label in sorted(labels)])])
    return [result for result in results if isinstance(result, Fingerprint)]


def photo_problem(file: Path, root: Path) -> tuple[str, str] | None:
    """Check the path of a photo, in a source with the resolved folder `root`; return a problem and remedy, or None."""
    name, suffix = file.name, file.suffix.lower()
    if (
        has_unsafe_characters(str(file))
        or is_hidden(name)
        or name.startswith(FORMULA)
        or len(name.encode()) > MAX_BYTES
    ):
        return NAME
    if is_outside(file, root):
        return OUTSIDE
    if suffix in FOREIGN:
        return FORMAT
    if suffix not in SUFFIXES:
        return NOT_A_PHOTO
    return None if is_file(file) else MISSING
