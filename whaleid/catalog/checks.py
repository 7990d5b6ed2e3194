"""Checks of the files of a catalogue folder. Each yields all problems of its kind at once."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from whaleid.core.errors import InputProblems
from whaleid.core.labels import NEW_WHALE

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Files with other suffixes, and hidden files, are ignored."""
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of a cell that spreadsheets run as a formula, in some languages also in full width."""
REORDERING = (*"\u202a\u202b\u202c\u202d\u202e", *"\u2066\u2067\u2068\u2069")
"""Characters that make a terminal or a page show others in another order."""


def input_problems(what: str, where: Sequence[str], remedy: str) -> Iterator[InputProblems]:
    """Yield problems of one kind, if there are any."""
    if where:
        yield InputProblems(what, where, remedy)


def photo_problems(train: list[str], test: list[str]) -> Iterator[InputProblems]:
    """Yield what is wrong with the names of the photos in `train/` and `test/`."""
    yield from input_problems(
        "Photos with names that cannot be written to a csv file",
        [ascii(name) for name in [*train, *test] if unwritable(name)],
        "Rename them.",
    )
    yield from input_problems(
        "Photos with names that a spreadsheet would run as a formula",
        [repr(name) for name in [*train, *test] if name.startswith(FORMULA)],
        f"Rename them: a name begins with none of {' '.join(FORMULA[:4])}.",
    )
    yield from input_problems(
        "Photos of the same name in train/ and test/",
        [repr(name) for name in sorted({*train} & {*test})],
        "A photo's name is its key: rename one of the two.",
    )


def table_problems(
    path: Path, table: pd.DataFrame, train: list[str], test: list[str], unfinished: bool
) -> Iterator[InputProblems]:
    """Yield what is wrong with the rows of one csv file; `table` is what `read_table` returned for `path`.

    Rows of train.csv are about photos of `train`, those of boxes.csv about any, all others about `test`. Except in
    boxes.csv and in an `unfinished` catalogue, every photo must have a row.
    """
    boxes = path.name == "boxes.csv"
    photos, folder = (train, "train/") if path.name == "train.csv" else (test, "test/")
    if boxes:
        photos, folder = [*train, *test], "train/ or test/"
    repeats = table[table["Image"].duplicated(keep=False)].groupby("Image")
    yield from input_problems(
        f"{path}: photos with several rows",
        [f"{image!r}: lines {', '.join(map(str, rows.index))}" for image, rows in repeats],
        "Keep one row a photo.",
    )
    plain = table["Image"].map(is_plain_name).astype(bool)
    yield from input_problems(
        f"{path}: names that are no plain file names",
        _rows(table[~plain]),
        f"Image is the name of a file directly in {folder}, without any folder.",
    )
    yield from input_problems(
        f"{path}: rows without a photo in {folder}",
        _rows(table[plain & ~table["Image"].isin(photos)]),
        f"Put the photos into {folder} or remove the rows.",
    )
    yield from input_problems(
        f"{path}: photos of {folder} without a row",
        [] if boxes or unfinished else [repr(image) for image in sorted({*photos} - {*table["Image"]})],
        f"Add their rows or take the photos out of {folder}.",
    )
    if boxes:
        yield from _box_problems(path, table)
    if "Id" in table:
        rows = table[["Image", "Id"]].itertuples()
        places = [(f"line {line}: {image!r} has {label!r}", label) for line, image, label in rows]
        yield from label_problems(f"{path}: labels", places)


def _rows(table: pd.DataFrame) -> list[str]:
    return [f"line {line}: {image!r}" for line, image in table["Image"].items()]


def label_problems(what: str, labels: Sequence[tuple[str, str]]) -> Iterator[InputProblems]:
    """Yield which of `labels`, each after its place for messages, cannot be used; messages begin with `what`."""
    yield from input_problems(
        f"{what} that are empty or hold white space",
        [where for where, label in labels if label.split() != [label] or unwritable(label)],
        f"Give each photo one label without control characters, {NEW_WHALE} if its whale has none, with _ for a space: "
        "a space separates labels in submissions.",
    )
    yield from input_problems(
        f"{what} that a spreadsheet would run as a formula",
        [where for where, label in labels if label.startswith(FORMULA)],
        f"Rename these whales: a label begins with none of {' '.join(FORMULA[:4])}.",
    )


def _box_problems(path: Path, table: pd.DataFrame) -> Iterator[InputProblems]:
    bad = []
    for line, image, *cells in table.itertuples():
        x0, y0, x1, y1 = map(_number, cells[:4])
        aspect = [_number(cell) for cell in cells[4:] if cell]
        inside = 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
        if not inside or not all(0 < value < math.inf for value in aspect):
            bad.append(f"line {line}: {image!r} has {', '.join(cells)}")
    yield from input_problems(
        f"{path}: boxes that are empty, or not inside their photo",
        bad,
        "Give fractions of width and height with 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1, and an aspect above 0.",
    )


def tiny_box_problems(path: Path, boxes: pd.DataFrame, photos: pd.DataFrame) -> Iterator[InputProblems]:
    """Yield the boxes of the file `path` that are less than a pixel of their photo wide or high.

    `boxes` is `Image,x0,y0,x1,y1`, numbers; `photos` is `Image,width,height` of these photos and maybe others.
    """
    sized = boxes.merge(photos[["Image", "width", "height"]], on="Image")
    width, height = (sized["x1"] - sized["x0"]) * sized["width"], (sized["y1"] - sized["y0"]) * sized["height"]
    yield from input_problems(
        f"{path}: boxes that leave less than a pixel of their photo",
        [
            f"{row.Image!r} has {row.x0:g}, {row.y0:g}, {row.x1:g}, {row.y1:g} of {row.width} x {row.height} pixels"
            for row in sized[(width < 1) | (height < 1)].itertuples()
        ],
        "Correct these boxes, or remove their rows.",
    )


def _number(text: str) -> float:
    """Return the number that `text` holds, or NaN, which no comparison accepts."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def unwritable(text: str) -> bool:
    """Return whether `text` holds what a csv file would not keep or a terminal not show as it is.

    These are control characters, ends of lines and paragraphs, bytes that are no text, and `REORDERING`.
    """
    return any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in REORDERING for character in text
    )


def is_plain_name(name: str) -> bool:
    """Return whether `name` is the plain name of a file, without any folder, on every system."""
    return not any(sign in name for sign in "/\\") and name not in (".", "..")


def is_file(path: Path) -> bool:
    """Return whether there is a file `path`; also for a path that the system does not take."""
    try:
        return path.is_file()
    except OSError:
        return False
