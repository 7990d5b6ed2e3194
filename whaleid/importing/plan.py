"""Plan an import: the photos, labels, boxes and truths that a catalogue gains. Nothing is written here."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from whaleid.catalog.checks import input_problems
from whaleid.core.errors import InputProblems, WhaleidError, raise_all
from whaleid.core.labels import NEW_WHALE
from whaleid.images.fingerprint import Fingerprint
from whaleid.importing.rectangle import Corners, holds_pixels
from whaleid.importing.source import Entry, Source

DIGITS = (8, 16, 32, 64)
"""Digits of its SHA-256 that a photo's name gets where another photo has the name; more where that is in use, too."""
TOLERANCE = 1e-4
"""How much a box may differ from the one that the catalogue has of the same photo."""
UNCHANGED = "An import changes nothing in a catalogue: correct the source or, where the source is right, {}."


class Known(NamedTuple):
    """A photo in the catalogue's folder."""

    name: str
    part: str
    sha256: str  # empty where no photo of a source has as many bytes
    label: str | None  # empty in `test`; None for a photo in `train` without a row, as an interrupted import leaves it


@dataclass(frozen=True)
class Existing:
    """What the catalogue's folder holds before the import."""

    photos: Sequence[Known] = ()
    boxes: Mapping[str, Corners] = field(default_factory=dict)
    solution: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # its csv files by name, all columns as text

    @property
    def labels(self) -> list[str]:
        """The label of each labelled photo."""
        return [photo.label for photo in self.photos if photo.label]

    @property
    def queries(self) -> list[str]:
        """The names of the photos to identify."""
        return [photo.name for photo in self.photos if photo.part == "test"]


@dataclass(frozen=True)
class Plan:
    """What an import adds to a catalogue."""

    existing: Existing
    names: Sequence[str]  # the name of each entry in the catalogue
    files: Mapping[tuple[str, str], tuple[Path, str]]  # the photos to write, by part and name: the file and its SHA-256
    labels: Mapping[str, str]  # new rows of train.csv, by name
    boxes: Mapping[str, Corners]  # new rows of boxes.csv
    solution: Mapping[str, str]  # new rows of solution.csv
    skipped: int  # entries that the catalogue has already, or the source twice
    without_truth: int  # photos to identify without a truth, for which those of the others are left out
    submission: bool  # whether a source has a sample_submission.csv

    @property
    def queries(self) -> list[str]:
        """The names of the photos to identify that are new."""
        return [name for part, name in self.files if part == "test"]


def plan(sources: Sequence[Source], prints: Sequence[Fingerprint], existing: Existing) -> Plan:
    """Plan how to put the photos of `sources`, with the fingerprint of each, into a catalogue.

    A photo keeps its name unless another one has it. A photo without label whose picture has one is skipped.

    Raises:
        WhaleidError: labels, boxes or truths contradict each other or the catalogue; names all of them.
    """
    entries = [entry for source in sources for entry in source.entries]
    names, files, labels, relabelled = _place(entries, prints, existing.photos)
    boxes, box_problems = _plan_boxes(entries, names, prints, existing.boxes)
    queries = {*existing.queries, *(name for part, name in files if part == "test")}
    whales = {*existing.labels, *(entry.label for entry in entries)}
    truths = [
        (name, entry.truth if entry.keyed or entry.truth in whales else NEW_WHALE)
        for entry, name in zip(entries, names, strict=True)
        if entry.truth
    ]
    solution, unknown, truth_problems = _plan_solution(truths, existing.solution, queries)
    unfinished = [repr(photo.name) for photo in existing.photos if photo.label is None and photo.name not in labels]
    raise_all(
        [
            *input_problems("Labels that differ from the catalogue's", relabelled, UNCHANGED.format("train.csv")),
            *_conflicts(entries, prints, existing.photos),
            *box_problems,
            *truth_problems,
            *input_problems(
                "Photos in train/ without a row in train.csv",
                unfinished,
                "Finish the import that brought them here, or take them out.",
            ),
        ]
    )
    if not labels and not existing.labels:
        raise WhaleidError("There are no labelled photos, and none in the catalogue: a catalogue needs some.")
    skipped = len(entries) - len({*files, *(("train", name) for name in labels)})
    sources_of = {place: (entries[row].file, prints[row].sha256) for place, row in files.items()}
    submission = any(source.submission for source in sources)
    return Plan(existing, names, sources_of, labels, boxes, solution, skipped, unknown, submission)


def _place(
    entries: Sequence[Entry], prints: Sequence[Fingerprint], photos: Sequence[Known]
) -> tuple[list[str], dict[tuple[str, str], int], dict[str, str], list[str]]:
    """Return the name of each entry, the row of each photo to write, the new labels, and labels that differ."""
    in_use = {_key(photo.name): photo for photo in photos}
    labelled = {photo.sha256: photo.name for photo in photos if photo.label}
    names, files, labels, relabelled = [""] * len(entries), {}, {}, []
    # labelled photos come first: they keep their names
    for row in sorted(range(len(entries)), key=lambda row: not entries[row].label):
        entry, sha256 = entries[row], prints[row].sha256
        if not entry.label and not entry.keyed and sha256 in labelled:
            names[row] = labelled[sha256]
            continue
        part = "train" if entry.label else "test"
        for name in _names(entry.file, sha256):
            other = in_use.get(_key(name))
            if other is None or other[:3] == (name, part, sha256):
                break
        names[row] = name
        if other is None:
            files[part, name] = row
        if other is None or other.label is None:
            in_use[_key(name)] = Known(name, part, sha256, entry.label)
            if entry.label:
                labels[name] = entry.label
                labelled.setdefault(sha256, name)
        elif other.label != entry.label and entry.keyed:
            relabelled.append(f"{entry.where} is {entry.label} here, {name!r} is {other.label} in the catalogue")
    return names, files, labels, relabelled


def _names(file: Path, sha256: str) -> Iterator[str]:
    """Yield names for a photo, its own first."""
    yield file.name
    for digits in DIGITS:
        yield f"{file.stem}-{sha256[:digits]}{file.suffix}"


def _key(name: str) -> str:
    """Return what is equal for names that some systems take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _plan_boxes(
    entries: Sequence[Entry], names: Sequence[str], prints: Sequence[Fingerprint], existing: Mapping[str, Corners]
) -> tuple[dict[str, Corners], list[InputProblems]]:
    """Return the new boxes by name, and what is wrong with any."""
    boxes: dict[str, Corners] = {}
    bad, differing = [], []
    for entry, name, size in zip(entries, names, prints, strict=True):
        if entry.rectangle is None:
            continue
        corners = entry.rectangle.as_fractions(size.width, size.height)
        known = existing.get(name) or boxes.setdefault(name, corners)
        if not holds_pixels(corners, size.width, size.height):
            numbers = ", ".join(f"{corner:g}" for corner in entry.rectangle.corners)
            bad.append(f"{entry.where} has {numbers} of {size.width} x {size.height} pixels")
        elif any(abs(new - old) > TOLERANCE for new, old in zip(corners, known, strict=True)):
            differing.append(entry.where)
    return boxes, [
        *input_problems(
            "Boxes that are not inside their photo, or hold less than a pixel",
            bad,
            "Boxes are left, top, right, bottom (a bbox: x, y, width, height), of the photo upright.",
        ),
        *input_problems(
            "Boxes that differ from the one that the same photo has already", differing, UNCHANGED.format("boxes.csv")
        ),
    ]


def _plan_solution(
    truths: Sequence[tuple[str, str]], existing: Mapping[str, str], queries: set[str]
) -> tuple[dict[str, str], int, list[InputProblems]]:
    """Return new rows of solution.csv, the number of `queries` without a truth, and what is wrong.

    `truths` are names and labels. A solution has the truth of all queries; otherwise there is none.
    """
    solution: dict[str, str] = {}
    differing = []
    for name, truth in truths:
        if (first := solution.setdefault(name, existing.get(name, truth))) != truth:
            differing.append(f"{name!r} is {truth} here, and {first} already")
    missing = sorted(queries - {*existing, *solution}) if existing or solution else []
    new = {} if missing else {name: truth for name, truth in solution.items() if name not in existing}
    return (
        new,
        len(missing),
        [
            *input_problems(
                "Truths that differ from the one that the same photo has already",
                differing,
                UNCHANGED.format("solution.csv"),
            ),
            *input_problems(
                "Photos to identify whose truth is not known, for a catalogue with a solution.csv",
                [repr(name) for name in missing] if existing else [],
                "solution.csv holds the truth of all of them: give theirs, or move the file away.",
            ),
        ],
    )


def _conflicts(
    entries: Sequence[Entry], prints: Sequence[Fingerprint], photos: Sequence[Known]
) -> Iterator[InputProblems]:
    """Yield which pictures, to the byte, have several labels, one of them new; keyed entries may."""
    new, old = defaultdict(list), defaultdict(list)
    for entry, each in zip(entries, prints, strict=True):
        if entry.label and not entry.keyed:
            new[each.sha256].append((entry.label, entry.where))
    for photo in photos:
        if photo.label:
            old[photo.sha256].append((photo.label, f"{photo.name!r} in the catalogue"))
    conflicts = []
    for sha256, labelled in new.items():
        labels, known = {label for label, _ in labelled}, {label for label, _ in old[sha256]}
        if len(labels) > 1 or (known and labels - known):
            conflicts.append("; ".join(f"{where} is {label}" for label, where in [*labelled, *old[sha256]]))
    yield from input_problems(
        "The same picture under several labels",
        conflicts,
        "Keep the label that is right. Correct one that the catalogue has in its train.csv by hand: an import changes "
        "no label.",
    )
