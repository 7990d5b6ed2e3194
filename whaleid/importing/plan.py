"""Plan an import: the photos, labels, boxes and true labels that a catalogue gains. This module writes no files."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple, TypeVar

import pandas as pd

from whaleid.catalog.checks import input_problems
from whaleid.core.errors import WhaleidError, raise_all
from whaleid.core.formats import CATALOGUE_SUFFIXES
from whaleid.core.labels import NEW_WHALE
from whaleid.images.fingerprint import Fingerprint
from whaleid.importing.source import Box, Entry, Source, is_valid_box

DIGITS = (8, 16, 32, 64)
"""Numbers of SHA-256 digits to append to a name that another photo has; the first that gives an unused name is used."""
TOLERANCE = 1e-4
"""Maximum difference between two boxes of a photo that count as equal, as a fraction of its width or height."""
T = TypeVar("T")
CheckedPhoto = tuple[Entry, Fingerprint]
"""A photo of a source that has passed `importing.checks.check`."""
FileKey = tuple[str, str]
"""The part, `train` or `test`, and the name of a photo in the catalogue."""
SourceFile = tuple[Path, str]
"""A file to write to the catalogue, and its SHA-256."""


class CataloguePhoto(NamedTuple):
    """A photo that is in the catalogue folder."""

    name: str
    part: str
    sha256: str  # empty if no photo of the source has the same size, so that it need not be compared


@dataclass(frozen=True)
class ExistingCatalogue:
    """The content of the catalogue folder before the import."""

    photos: Sequence[CataloguePhoto] = ()
    labels: Mapping[str, str] = field(default_factory=dict)  # by name; photos of an interrupted import have none
    boxes: Mapping[str, Box] = field(default_factory=dict)  # by name
    solution: Mapping[str, str] = field(default_factory=dict)  # true labels by name
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # csv files by file name, all columns as text

    @property
    def queries(self) -> list[str]:
        """The names of the queries."""
        return [photo.name for photo in self.photos if photo.part == "test"]


@dataclass(frozen=True)
class Plan:
    """What an import adds to a catalogue."""

    existing: ExistingCatalogue
    names: Sequence[str]  # the name of each photo in the catalogue: labelled photos first, each in the source's order
    files: Mapping[FileKey, SourceFile]  # the photos to write
    labels: Mapping[str, str]  # new rows of train.csv, by name
    boxes: Mapping[str, Box]  # new rows of boxes.csv, by name
    solution: Mapping[str, str]  # new rows of solution.csv, by name; empty if a query has no true label
    without_truth: int  # number of queries without a true label, if other queries have one
    submission: bool  # whether a source has a sample_submission.csv

    @property
    def queries(self) -> list[str]:
        """The names of the new queries."""
        return [name for part, name in self.files if part == "test"]

    @property
    def skipped(self) -> int:
        """The number of photos that are already in the catalogue, or repeated in the source."""
        return len(self.names) - len({*self.queries, *self.labels})


def make_plan(sources: Sequence[Source], fingerprints: Sequence[Fingerprint], existing: ExistingCatalogue) -> Plan:
    """Plan how to add the photos of `sources`, with one fingerprint per photo, to a catalogue.

    A photo keeps its name unless another photo has it. A query that is identical to a labelled photo is skipped.

    Raises:
        WhaleidError: labels, boxes or true labels contradict each other or the catalogue; the error lists all of them.
    """
    entries = [entry for source in sources for entry in source.entries]
    # labelled photos come first, so that they keep their names
    photos = sorted(zip(entries, fingerprints, strict=True), key=lambda photo: not photo[0].label)
    names, files = _assign_names(photos, existing)
    queries = {*existing.queries, *(name for part, name in files if part == "test")}
    whales = {*existing.labels.values(), *(entry.label for entry in entries)}
    # if values differ, the one of the catalogue counts, then the first of the source
    labels, boxes, solution = dict(existing.labels), dict(existing.boxes), dict(existing.solution)
    bad_boxes, different_boxes, different_truths = [], [], []
    for name, (entry, fingerprint) in zip(names, photos, strict=True):
        if entry.label:
            labels.setdefault(name, entry.label)
        if entry.rectangle:
            width, height = fingerprint.width, fingerprint.height
            box = entry.rectangle.as_fractions(width, height)
            first = boxes.setdefault(name, box)
            if not is_valid_box(box, width, height):
                numbers = ", ".join(f"{corner:g}" for corner in entry.rectangle.corners)
                bad_boxes.append(f"{entry.location} has {numbers} of {width} x {height} pixels")
            # not strict: a box of the catalogue may have no aspect
            elif any(abs(new - old) > TOLERANCE for new, old in zip(box, first, strict=False)):
                different_boxes.append(entry.location)
        if entry.truth and name in queries:
            truth = entry.truth if entry.name_is_key or entry.truth in whales else NEW_WHALE
            if solution.setdefault(name, truth) != truth:
                different_truths.append(
                    f"{name!r} is {truth} in the source, but {solution[name]} in the catalogue or an earlier row"
                )
    without_truth = sorted(queries - solution.keys()) if solution else []
    unlabelled = [photo.name for photo in existing.photos if photo.part == "train" and photo.name not in labels]
    problems = [
        *input_problems(
            "The same photo with different labels",
            _conflicts(photos, names, existing),
            f"Keep the correct label. {_remedy('train.csv', existing)}",
        ),
        *input_problems(
            "Boxes that are not inside their photo, or smaller than a pixel",
            bad_boxes,
            "Give left, top, right and bottom edge (for a bbox: x, y, width, height) on the upright photo.",
        ),
        *input_problems("The same photo with different boxes", different_boxes, _remedy("boxes.csv", existing)),
        *input_problems(
            "The same query with different true labels", different_truths, _remedy("solution.csv", existing)
        ),
        *input_problems(
            "Queries (photos to identify) without a true label, for a catalogue with a solution.csv",
            [*map(repr, without_truth)] if existing.solution else [],
            "solution.csv needs a row for every query: import a source with true labels, or move solution.csv away.",
        ),
        *input_problems(
            "Photos in train/ without a row in train.csv",
            [*map(repr, unlabelled)],
            "If an import was interrupted, run it again. Otherwise add rows for these photos, or move them away.",
        ),
    ]
    raise_all(problems)
    if not labels:
        raise WhaleidError(
            "There are no labelled photos. Also import photos of known whales. In a csv file, write one row per photo "
            "below the header."
        )
    return Plan(
        existing,
        names,
        files,
        _new_items(labels, existing.labels),
        _new_items(boxes, existing.boxes),
        {} if without_truth else _new_items(solution, existing.solution),
        len(without_truth),
        any(source.submission for source in sources),
    )


def _assign_names(
    photos: Sequence[CheckedPhoto], existing: ExistingCatalogue
) -> tuple[list[str], dict[FileKey, SourceFile]]:
    """Return the name of each photo in the catalogue, and the files to write."""
    photo_by_key = {_name_key(photo.name): photo for photo in existing.photos}
    name_by_hash = {photo.sha256: photo.name for photo in existing.photos if photo.name in existing.labels}
    names, files = [], {}
    for entry, fingerprint in photos:
        sha256 = fingerprint.sha256
        if not entry.label and not entry.name_is_key and sha256 in name_by_hash:
            names.append(name_by_hash[sha256])
            continue
        part = "train" if entry.label else "test"
        file = PurePath(_catalogue_name(entry.file, fingerprint.format))
        with_digits = [f"{file.stem}-{sha256[:count]}{file.suffix}" for count in DIGITS]
        for name in [file.name, *with_digits]:
            key, photo = _name_key(name), CataloguePhoto(name, part, sha256)
            if key not in photo_by_key:
                photo_by_key[key] = photo
                files[part, name] = (entry.file, sha256)
            if photo_by_key[key] == photo:
                break
        names.append(name)
        if entry.label:
            name_by_hash.setdefault(sha256, name)
    return names, files


def _catalogue_name(file: Path, image_format: str) -> str:
    """Return the name of a photo in a catalogue: in Unicode's form NFC, with a suffix of its format."""
    name = unicodedata.normalize("NFC", file.name)
    if file.suffix.lower() in CATALOGUE_SUFFIXES:
        return name
    return f"{PurePath(name).stem}{'.png' if image_format == 'PNG' else '.jpg'}"


def _name_key(name: str) -> str:
    """Return a key that is equal for names that some file systems do not distinguish, such as `a.jpg` and `A.JPG`."""
    return unicodedata.normalize("NFC", name).casefold()


def _remedy(table: str, existing: ExistingCatalogue) -> str:
    if table not in existing.tables:
        return "Correct the source."
    return f"Correct the source or, if the source is right, {table} of the catalogue: import does not change its rows."


def _conflicts(photos: Sequence[CheckedPhoto], names: Sequence[str], existing: ExistingCatalogue) -> list[str]:
    """Return one line for each photo that gets a further label, with all its locations and labels.

    Identical files are one photo. If the name of an entry is its key, photos of the same name are one photo.
    """
    in_catalogue: dict[str, list[tuple[str, str]]] = defaultdict(list)  # locations and labels, by SHA-256 or name
    in_source: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for photo in existing.photos:
        if label := existing.labels.get(photo.name):
            for key in (photo.name, photo.sha256):
                in_catalogue[key].append((f"{photo.name!r} in the catalogue", label))
    for (entry, fingerprint), name in zip(photos, names, strict=True):
        if entry.label:
            in_source[name if entry.name_is_key else fingerprint.sha256].append((entry.location, entry.label))
    conflicts = []
    for key, new in in_source.items():
        old = in_catalogue[key]
        if len({label for _, label in old + new}) > max(len({label for _, label in old}), 1):
            conflicts.append("; ".join(f"{location} is {label}" for location, label in old + new))
    return conflicts


def _new_items(after: Mapping[str, T], before: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in after.items() if name not in before}
