"""What is to be written so that photos stand in a catalogue; nothing is written here."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whaleid.catalog.checks import SUFFIXES, found, unwritable
from whaleid.catalog.entries import FOREIGN, Entry, hidden
from whaleid.errors import InputProblems, WhaleidError
from whaleid.labels import NEW_WHALE

DIGITS = (8, 16, 32, 64)
"""How much of a photo's SHA-256 its name gets where the name alone is taken: more, should that be taken, too."""
LONGEST = 180
"""Bytes of a photo's name: a file's may have 255, of which a temporary name and a part of the SHA-256 take some."""
ROUNDING = 1e-4
"""By which a box may differ from the one that the catalogue has of the same photo."""
Corners = tuple[float, float, float, float, float]
"""x0, y0, x1, y1 as fractions of width and height, and the aspect."""


@dataclass(frozen=True)
class Seen:
    """What a photo's file is, as far as it matters here; width and height upright."""

    sha256: str
    width: int
    height: int


@dataclass(frozen=True)
class Standing:
    """A photo in the catalogue's folder."""

    name: str
    part: str
    seen: Seen
    label: str | None
    """An empty string in `test`; None for a photo in `train` without a row: it was to have one when an import ended."""


@dataclass(frozen=True)
class Held:
    """What a catalogue's folder holds."""

    photos: Sequence[Standing] = ()
    boxes: Mapping[str, Corners] = field(default_factory=dict)
    solution: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    names: Sequence[str]
    """Of each entry, its name in the catalogue."""
    files: Mapping[tuple[str, str], int]
    """Which entry is to be written, by part and name."""
    labels: Mapping[str, str]
    """New rows of train.csv, by name."""
    boxes: Mapping[str, Corners]
    """New rows of boxes.csv."""
    solution: Mapping[str, str]
    """New rows of solution.csv."""
    skipped: int
    """Entries that are there already, or twice in the source."""
    untold: int
    """Photos to identify without a truth, for which that of the others is left out."""


def faults(entries: Sequence[Entry]) -> Iterator[InputProblems]:
    """Yield what is wrong with the names, formats and labels of photos, before any is opened."""
    names = [(entry.where, entry.file.name) for entry in entries]
    suffixes = [(where, name, Path(name).suffix.lower()) for where, name in names]
    yield from found(
        "Photos in a format that a catalogue does not take",
        [where for where, _, suffix in suffixes if suffix in FOREIGN],
        "Save them as JPEG or PNG first; `magick mogrify -format png FILES` of ImageMagick does so without loss.",
    )
    yield from found(
        "Files that are no photos",
        [where for where, _, suffix in suffixes if suffix not in (*SUFFIXES, *FOREIGN)],
        f"Photos are files named {', '.join(SUFFIXES)}.",
    )
    yield from found(
        "Photos with names that a catalogue cannot have",
        [
            entry.where
            for entry in entries
            if unwritable(str(entry.file)) or hidden(entry.file.name) or len(entry.file.name.encode()) > LONGEST
        ],
        f"Rename them: no control characters, no dot at the beginning, no more than {LONGEST} bytes.",
    )
    yield from found(
        "Names of whales that hold white space or control characters",
        sorted({repr(label) for each in entries if (label := each.label or each.truth) and not _is_label(label)}),
        "Rename these whales, with _ for a space: a space separates names in submissions.",
    )


def plan(entries: Sequence[Entry], seen: Sequence[Seen], held: Held, keyed: bool) -> Plan:
    """Return what puts `entries`, of which `seen` says what their files are, into a catalogue that has `held`.

    With `keyed`, a picture may have several names and labels; without, it has one label, here and there together.

    Raises:
        WhaleidError: labels, boxes or truths contradict each other or the catalogue, or cannot be taken; all of them.
    """
    taken = {_key(each.name): each for each in held.photos}
    names: list[str] = []
    files: dict[tuple[str, str], int] = {}
    labels: dict[str, str] = {}
    boxes: dict[str, Corners] = {}
    truths: dict[str, str] = {}
    relabelled, bad, moved, differing = [], [], [], []
    known = {NEW_WHALE, *(each.label for each in entries), *(each.label for each in held.photos)}
    for number, (entry, file) in enumerate(zip(entries, seen, strict=True)):
        part = "train" if entry.label else "test"
        for name in _names(entry.file.name, file.sha256):
            other = taken.get(_key(name))
            if other is None or (other.name, other.part, other.seen.sha256) == (name, part, file.sha256):
                break
        names.append(name)
        if other is None:
            files[part, name] = number
        if other is None or other.label is None:
            taken[_key(name)] = Standing(name, part, file, entry.label)
            labels |= {name: entry.label} if entry.label else {}
        elif other.label != entry.label:
            relabelled.append(f"{entry.where} is {entry.label} here, {name!r} is {other.label} in the catalogue")
        if entry.box is not None:
            corners = _fractions(entry.box.corners, entry.box.pixels, entry.box.aspect, file)
            if not _holds_pixels(corners, file):
                size = f"{file.width} x {file.height} pixels"
                bad.append(f"{entry.where} has {', '.join(f'{each:g}' for each in entry.box.corners)} of {size}")
            elif name not in held.boxes:
                boxes[name] = corners
            elif max(abs(a - b) for a, b in zip(corners, held.boxes[name], strict=True)) > ROUNDING:
                moved.append(entry.where)
        if entry.truth:
            truth = entry.truth if keyed or entry.truth in known else NEW_WHALE
            if held.solution.get(name, truth) != truth:
                differing.append(f"{entry.where} is {truth} here, {held.solution[name]} in the catalogue")
            truths[name] = truth
    told = {**held.solution, **truths}
    untold = [each.name for each in taken.values() if each.part == "test" and each.name not in told] if told else []
    never = "Nothing that a catalogue says is changed: correct the source or, where you know better, its {}."
    problems = [
        *([] if keyed else _torn(entries, seen, held.photos)),
        *found("Labels that differ from the catalogue's", relabelled if keyed else [], never.format("train.csv")),
        *found("Boxes that differ from the catalogue's", moved, never.format("boxes.csv")),
        *found("Truths that differ from the catalogue's", differing, never.format("solution.csv")),
        *found(
            "Boxes that are not inside their photo, or hold less than a pixel",
            bad,
            "Boxes are left, top, right, bottom (a bbox: x, y, width, height), of the photo upright.",
        ),
        *found(
            "Photos to identify whose truth is not known, for a catalogue with a solution.csv",
            untold if held.solution else [],
            "It tells the truth of all or of none: give theirs, or move it away.",
        ),
    ]
    if problems:
        raise problems[0] if len(problems) == 1 else WhaleidError("\n\n".join(map(str, problems)))
    solution = {} if untold else {name: truth for name, truth in truths.items() if name not in held.solution}
    skipped = len(entries) - len({*files} | {("train", name) for name in labels})
    return Plan(names, files, labels, boxes, solution, skipped, len(untold))


def _names(name: str, sha256: str) -> Iterator[str]:
    """Yield the names that a photo may have, its own first."""
    path = Path(name)
    yield name
    for digits in DIGITS:
        yield f"{path.stem}-{sha256[:digits]}{path.suffix}"


def _key(name: str) -> str:
    """Return what is the same of names that some systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_label(text: str) -> bool:
    return text.split() == [text] and not unwritable(text)


def _torn(entries: Sequence[Entry], seen: Sequence[Seen], there: Sequence[Standing]) -> Iterator[InputProblems]:
    """Yield which pictures, to the byte, have several labels, one of them new."""
    new: dict[str, list[tuple[str, str]]] = defaultdict(list)
    old: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for entry, file in zip(entries, seen, strict=True):
        if entry.label:
            new[file.sha256].append((entry.label, entry.where))
    for each in there:
        if each.label:
            old[each.seen.sha256].append((each.label, f"{each.name!r} in the catalogue"))
    torn = []
    for sha256, said in new.items():
        labels, known = {label for label, _ in said}, {label for label, _ in old[sha256]}
        if len(labels) > 1 or (known and labels - known):
            torn.append("; ".join(f"{where} is {label}" for label, where in [*said, *old[sha256]]))
    yield from found(
        "The same picture under several labels",
        torn,
        "Keep the one that is right. In a catalogue that is there already, correct train.csv by hand: no label is "
        "changed here.",
    )


def _fractions(corners: Sequence[float], pixels: bool, aspect: float | None, file: Seen) -> Corners:
    """Return a box as fractions; what reaches out of the photo by a pixel or less is cut off."""
    sides = (file.width, file.height) * 2
    fractions = []
    for corner, side in zip(corners, sides, strict=True):
        fraction = corner / side if pixels else corner
        inside = min(max(fraction, 0.0), 1.0)
        fractions.append(inside if abs(inside - fraction) * side <= 1 else fraction)
    x0, y0, x1, y1 = fractions
    return x0, y0, x1, y1, file.width / file.height if aspect is None else aspect


def _holds_pixels(corners: Corners, file: Seen) -> bool:
    x0, y0, x1, y1, _ = corners
    inside = 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    return inside and (x1 - x0) * file.width >= 1 and (y1 - y0) * file.height >= 1
