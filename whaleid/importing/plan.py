"""Plan an import: the photos, labels, boxes and truths that a catalogue gains. Nothing is written here."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd

from whaleid.catalog.checks import input_problems
from whaleid.core.errors import WhaleidError, raise_all
from whaleid.core.labels import NEW_WHALE
from whaleid.images.fingerprint import Fingerprint
from whaleid.importing.source import Box, Entry, Source, holds_pixels

DIGITS = (8, 16, 32, 64)
"""Digits of its SHA-256 that a photo's name gets where another photo has the name; more where that is in use, too."""
TOLERANCE = 1e-4
"""How much a box may differ from the one that the catalogue has of the same photo."""
UNCHANGED = "An import changes nothing in a catalogue: correct the source or, where the source is right, {} by hand."
T = TypeVar("T")
Photo = tuple[Entry, Fingerprint]
"""A photo of a source, checked."""


class Known(NamedTuple):
    """A photo in the catalogue's folder."""

    name: str
    part: str
    sha256: str  # empty where no photo of a source has as many bytes


@dataclass(frozen=True)
class ExistingCatalogue:
    """What the catalogue's folder holds before the import."""

    photos: Sequence[Known] = ()
    labels: Mapping[str, str] = field(default_factory=dict)  # by name; an interrupted import leaves photos without
    boxes: Mapping[str, Box] = field(default_factory=dict)
    solution: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # its csv files by name, all columns as text

    @property
    def queries(self) -> list[str]:
        """The names of the photos to identify."""
        return [photo.name for photo in self.photos if photo.part == "test"]


@dataclass(frozen=True)
class Plan:
    """What an import adds to a catalogue."""

    existing: ExistingCatalogue
    names: Sequence[str]  # the name of each photo in the catalogue: in the order of the sources, labelled photos first
    files: Mapping[tuple[str, str], tuple[Path, str]]  # the photos to write, by part and name: the file and its SHA-256
    labels: Mapping[str, str]  # new rows of train.csv, by name
    boxes: Mapping[str, Box]  # new rows of boxes.csv
    solution: Mapping[str, str]  # new rows of solution.csv
    without_truth: int  # photos to identify without a truth, for which those of the others are left out
    submission: bool  # whether a source has a sample_submission.csv

    @property
    def queries(self) -> list[str]:
        """The names of the photos to identify that are new."""
        return [name for part, name in self.files if part == "test"]

    @property
    def skipped(self) -> int:
        """The number of photos that the catalogue has already, or the source twice."""
        return len(self.names) - len({*self.queries, *self.labels})


def make_plan(sources: Sequence[Source], prints: Sequence[Fingerprint], existing: ExistingCatalogue) -> Plan:
    """Plan how to put the photos of `sources`, with the fingerprint of each, into a catalogue.

    A photo keeps its name unless another one has it. A photo without label whose picture has one is skipped.

    Raises:
        WhaleidError: labels, boxes or truths contradict each other or the catalogue; names all of them.
    """
    entries = [entry for source in sources for entry in source.entries]
    # labelled photos come first: they keep their names
    photos = sorted(zip(entries, prints, strict=True), key=lambda photo: not photo[0].label)
    names, files = _place(photos, existing)
    queries = {*existing.queries, *(name for part, name in files if part == "test")}
    whales = {*existing.labels.values(), *(entry.label for entry in entries)}
    # what the catalogue has counts, then what comes first
    labels, boxes, solution = dict(existing.labels), dict(existing.boxes), dict(existing.solution)
    bad_boxes, other_boxes, other_truths = [], [], []
    for name, (entry, photo) in zip(names, photos, strict=True):
        if entry.label:
            labels.setdefault(name, entry.label)
        if entry.rectangle:
            box = entry.rectangle.as_fractions(photo.width, photo.height)
            first = boxes.setdefault(name, box)
            if not holds_pixels(box, photo.width, photo.height):
                numbers = ", ".join(f"{corner:g}" for corner in entry.rectangle.corners)
                bad_boxes.append(f"{entry.where} has {numbers} of {photo.width} x {photo.height} pixels")
            elif any(abs(new - old) > TOLERANCE for new, old in zip(box, first, strict=False)):  # an aspect may lack
                other_boxes.append(entry.where)
        if entry.truth and name in queries:
            truth = entry.truth if entry.keyed or entry.truth in whales else NEW_WHALE
            if solution.setdefault(name, truth) != truth:
                other_truths.append(f"{name!r} is {truth} here, and {solution[name]} already")
    without_truth = sorted(queries - solution.keys()) if solution else []
    unfinished = [photo.name for photo in existing.photos if photo.part == "train" and photo.name not in labels]
    problems = [
        *input_problems(
            "The same picture under several labels",
            _conflicts(photos, names, existing),
            f"Keep the label that is right. {_remedy('train.csv', existing)}",
        ),
        *input_problems(
            "Boxes that are not inside their photo, or hold less than a pixel",
            bad_boxes,
            "Boxes are left, top, right, bottom (a bbox: x, y, width, height), of the photo upright.",
        ),
        *input_problems(
            "Boxes that differ from another one of their photo", other_boxes, _remedy("boxes.csv", existing)
        ),
        *input_problems(
            "Truths that differ from another one of their photo", other_truths, _remedy("solution.csv", existing)
        ),
        *input_problems(
            "Photos to identify whose truth is not known, for a catalogue with a solution.csv",
            [*map(repr, without_truth)] if existing.solution else [],
            "solution.csv holds the truth of all of them: give theirs, or move the file away.",
        ),
        *input_problems(
            "Photos in train/ without a row in train.csv",
            [*map(repr, unfinished)],
            "Finish the import that brought them here, or take them out.",
        ),
    ]
    raise_all(problems)
    if not labels:
        raise WhaleidError("There are no labelled photos, and none in the catalogue: a catalogue needs some.")
    return Plan(
        existing,
        names,
        files,
        _added(labels, existing.labels),
        _added(boxes, existing.boxes),
        {} if without_truth else _added(solution, existing.solution),
        len(without_truth),
        any(source.submission for source in sources),
    )


def _place(
    photos: Sequence[Photo], existing: ExistingCatalogue
) -> tuple[list[str], dict[tuple[str, str], tuple[Path, str]]]:
    """Return the name of each photo in the catalogue, and the files to write, as in `Plan`."""
    in_use = {_key(photo.name): photo for photo in existing.photos}
    labelled = {photo.sha256: photo.name for photo in existing.photos if photo.name in existing.labels}
    names, files = [], {}
    for entry, photo in photos:
        if not entry.label and not entry.keyed and photo.sha256 in labelled:
            names.append(labelled[photo.sha256])
            continue
        part = "train" if entry.label else "test"
        digits = [f"{entry.file.stem}-{photo.sha256[:count]}{entry.file.suffix}" for count in DIGITS]
        for name in [entry.file.name, *digits]:
            if _key(name) not in in_use:
                in_use[_key(name)] = Known(name, part, photo.sha256)
                files[part, name] = (entry.file, photo.sha256)
            if in_use[_key(name)] == (name, part, photo.sha256):
                break
        names.append(name)
        if entry.label:
            labelled.setdefault(photo.sha256, name)
    return names, files


def _key(name: str) -> str:
    """Return what is equal for names that some systems take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _remedy(table: str, existing: ExistingCatalogue) -> str:
    return UNCHANGED.format(table) if table in existing.tables else "Correct the source."


def _conflicts(photos: Sequence[Photo], names: Sequence[str], existing: ExistingCatalogue) -> list[str]:
    """Return the places and labels of each picture, to the byte, that gets a further label; of keyed ones by name."""
    known: dict[str, list[tuple[str, str]]] = defaultdict(list)  # places and labels, by SHA-256 or name
    new: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for each in existing.photos:
        if label := existing.labels.get(each.name):
            for key in (each.name, each.sha256):
                known[key].append((f"{each.name!r} in the catalogue", label))
    for (entry, photo), name in zip(photos, names, strict=True):
        if entry.label:
            new[name if entry.keyed else photo.sha256].append((entry.where, entry.label))
    conflicts = []
    for key, places in new.items():
        before, after = ({label for _, label in each} for each in (known[key], known[key] + places))
        if len(after) > max(len(before), 1):
            conflicts.append("; ".join(f"{where} is {label}" for where, label in known[key] + places))
    return conflicts


def _added(after: Mapping[str, T], before: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in after.items() if name not in before}
