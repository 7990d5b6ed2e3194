"""What is to be written so that photos stand in a catalogue; nothing is written here."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whaleid.catalog.checks import FORMULA, SUFFIXES, found, unwritable
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.labels import NEW_WHALE
from whaleid.importing.source import FOREIGN, Entry, hidden

DIGITS = (8, 16, 32, 64)
"""How much of a photo's SHA-256 its name gets where the name alone is taken: more, should that be taken, too."""
LONGEST = 180
"""Bytes of a photo's name: a file's may have 255, of which a temporary name and a part of the SHA-256 take some."""
ROUNDING = 1e-4
"""By which a box may differ from the one that the catalogue has of the same photo."""
OVER = 1.5
"""Pixels by which a box may reach out of its photo: as much comes from rounding, and is cut off."""
UNCHANGED = "Nothing that a catalogue says is changed: correct the source or, where you know better, its {}."
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
        [entry.where for entry in entries if not nameable(entry.file)],
        f"Rename them: no control characters, none of . {' '.join(FORMULA[:4])} at the beginning, no more than "
        f"{LONGEST} bytes.",
    )
    yield from found(
        "Names of whales that hold white space or control characters",
        sorted({repr(label) for each in entries if (label := each.label or each.truth) and not _is_label(label)}),
        "Rename these whales, with _ for a space: a space separates names in submissions.",
    )
    yield from found(
        "Names of whales that a spreadsheet would run as a formula",
        sorted({repr(label) for each in entries if (label := each.label or each.truth).startswith(FORMULA)}),
        f"Rename these whales: a name begins with none of {' '.join(FORMULA[:4])}.",
    )


def nameable(file: Path) -> bool:
    """Tell whether a catalogue can have a photo of this name."""
    name = file.name
    return not (unwritable(str(file)) or hidden(name) or name.startswith(FORMULA) or len(name.encode()) > LONGEST)


def plan(entries: Sequence[Entry], seen: Sequence[Seen], held: Held, keyed: Sequence[bool]) -> Plan:
    """Return what puts `entries`, of which `seen` says what their files are, into a catalogue that has `held`.

    Of those that are `keyed`, a picture may have several names and labels; of others it has one label, here and there
    together, and is not asked for where it has one.

    Raises:
        WhaleidError: labels, boxes or truths contradict each other or the catalogue, or cannot be taken; all of them.
    """
    names, files, labels, relabelled = _placed(entries, seen, held.photos, keyed)
    boxes, misplaced = _boxes(entries, names, seen, held.boxes)
    queries = {name for part, name in files if part == "test"}
    queries |= {each.name for each in held.photos if each.part == "test"}
    known = {*(each.label for each in entries), *(each.label for each in held.photos)}
    told = [
        (name, entry.truth if key or entry.truth in known else NEW_WHALE)
        for entry, name, key in zip(entries, names, keyed, strict=True)
        if entry.truth
    ]
    truth, untold, untrue = _truth(told, held.solution, queries)
    unkeyed = [(entry, file) for entry, file, key in zip(entries, seen, keyed, strict=True) if not key]
    problems = [
        *found("Labels that differ from the catalogue's", relabelled, UNCHANGED.format("train.csv")),
        *_torn(unkeyed, held.photos),
        *misplaced,
        *untrue,
    ]
    if problems:
        raise problems[0] if len(problems) == 1 else WhaleidError("\n\n".join(map(str, problems)))
    skipped = len(entries) - len({*files} | {("train", name) for name in labels})
    return Plan(names, files, labels, boxes, truth, skipped, untold)


def _placed(
    entries: Sequence[Entry], seen: Sequence[Seen], there: Sequence[Standing], keyed: Sequence[bool]
) -> tuple[list[str], dict[tuple[str, str], int], dict[str, str], list[str]]:
    """Return the name of each entry, what is to be written, the new labels, and whose label is another than `there`."""
    taken = {_key(each.name): each for each in there}
    labelled = {each.seen.sha256: each.name for each in there if each.label}
    names, files, labels, relabelled = [""] * len(entries), {}, {}, []
    # labelled photos come first: they keep their names
    for number in sorted(range(len(entries)), key=lambda number: not entries[number].label):
        entry, file = entries[number], seen[number]
        if not entry.label and not keyed[number] and file.sha256 in labelled:
            names[number] = labelled[file.sha256]
            continue
        part = "train" if entry.label else "test"
        for name in _names(entry.file.name, file.sha256):
            other = taken.get(_key(name))
            if other is None or (other.name, other.part, other.seen.sha256) == (name, part, file.sha256):
                break
        names[number] = name
        if other is None:
            files[part, name] = number
        if other is None or other.label is None:
            taken[_key(name)] = Standing(name, part, file, entry.label)
            if entry.label:
                labels[name] = entry.label
                labelled.setdefault(file.sha256, name)
        elif other.label != entry.label and keyed[number]:
            relabelled.append(f"{entry.where} is {entry.label} here, {name!r} is {other.label} in the catalogue")
    return names, files, labels, relabelled


def _boxes(
    entries: Sequence[Entry], names: Sequence[str], seen: Sequence[Seen], there: Mapping[str, Corners]
) -> tuple[dict[str, Corners], list[InputProblems]]:
    """Return the new boxes by name, and what is wrong with any."""
    boxes: dict[str, Corners] = {}
    known = dict(there)
    bad, moved = [], []
    for entry, name, file in zip(entries, names, seen, strict=True):
        if entry.box is None:
            continue
        corners = _fractions(entry.box.corners, entry.box.pixels, entry.box.aspect, file)
        if not _holds_pixels(corners, file):
            said = ", ".join(f"{each:g}" for each in entry.box.corners)
            bad.append(f"{entry.where} has {said} of {file.width} x {file.height} pixels")
        elif any(abs(new - old) > ROUNDING for new, old in zip(corners, known.get(name, corners), strict=True)):
            moved.append(entry.where)
        elif name not in known:
            known[name] = boxes[name] = corners
    return boxes, [
        *found(
            "Boxes that are not inside their photo, or hold less than a pixel",
            bad,
            "Boxes are left, top, right, bottom (a bbox: x, y, width, height), of the photo upright.",
        ),
        *found("Boxes that differ from the one that the same photo has already", moved, UNCHANGED.format("boxes.csv")),
    ]


def _truth(
    told: Sequence[tuple[str, str]], there: Mapping[str, str], queries: Collection[str]
) -> tuple[dict[str, str], int, list[InputProblems]]:
    """Return new truths by name, of how many `queries` none is known, and what is wrong; it is that of all or of none.

    `told` are names and truths, `there` those of the catalogue.
    """
    truth: dict[str, str] = {}
    differing = []
    for name, said in told:
        if (first := truth.setdefault(name, there.get(name, said))) != said:
            differing.append(f"{name!r} is {said} here, and {first} already")
    untold = sorted({*queries} - {*there, *truth}) if there or truth else []
    new = {} if untold else {name: said for name, said in truth.items() if name not in there}
    return (
        new,
        len(untold),
        [
            *found(
                "Truths that differ from the one that the same photo has already",
                differing,
                UNCHANGED.format("solution.csv"),
            ),
            *found(
                "Photos to identify whose truth is not known, for a catalogue with a solution.csv",
                [repr(name) for name in untold] if there else [],
                "It tells the truth of all or of none: give theirs, or move it away.",
            ),
        ],
    )


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


def _torn(photos: Sequence[tuple[Entry, Seen]], there: Sequence[Standing]) -> Iterator[InputProblems]:
    """Yield which pictures, to the byte, have several labels, one of them new."""
    new: dict[str, list[tuple[str, str]]] = defaultdict(list)
    old: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for entry, file in photos:
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
    """Return a box as fractions; what reaches out of the photo by `OVER` or less is cut off."""
    sides = (file.width, file.height) * 2
    fractions = []
    for corner, side in zip(corners, sides, strict=True):
        fraction = corner / side if pixels else corner
        inside = min(max(fraction, 0.0), 1.0)
        fraction = inside if abs(inside - fraction) * side <= OVER else fraction
        fractions.append(float(f"{fraction:.6g}"))  # as it is written
    x0, y0, x1, y1 = fractions
    return x0, y0, x1, y1, file.width / file.height if aspect is None else aspect


def _holds_pixels(corners: Corners, file: Seen) -> bool:
    x0, y0, x1, y1, _ = corners
    inside = 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    return inside and (x1 - x0) * file.width >= 1 and (y1 - y0) * file.height >= 1
