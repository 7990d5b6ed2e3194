"""Checks of names, labels, rows and boxes of a catalogue folder. Each yields all problems of its kind at once."""

import math
import unicodedata
from collections.abc import Collection, Iterator, Sequence
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


def has_unsafe_characters(text: str) -> bool:
    """Return whether `text` holds what a csv file would not keep or a terminal not show as it is.

    These are control characters, ends of lines and paragraphs, bytes that are no text, and `REORDERING`.
    """
    return any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in REORDERING for character in text
    )


def is_file(path: Path) -> bool:
    """Return whether there is a file `path`; also for a path that the system does not take."""
    try:
        return path.is_file()
    except OSError:
        return False


def input_problems(what: str, where: Sequence[str], remedy: str) -> Iterator[InputProblems]:
    """Yield problems of one kind, if there are any."""
    if where:
        yield InputProblems(what, where, remedy)


def name_problems(train: Sequence[str], test: Sequence[str]) -> Iterator[InputProblems]:
    """Yield what is wrong with the names of the photos in `train/` and `test/`."""
    names = [*train, *test]
    yield from input_problems(
        "Photos with names that cannot be written to a csv file",
        [ascii(name) for name in names if has_unsafe_characters(name)],
        "Rename them.",
    )
    yield from input_problems(
        "Photos with names that a spreadsheet would run as a formula",
        [repr(name) for name in names if name.startswith(FORMULA)],
        f"Rename them: a name begins with none of {' '.join(FORMULA[:4])}.",
    )
    yield from input_problems(
        "Photos of the same name in train/ and test/",
        [repr(name) for name in sorted({*train} & {*test})],
        "A photo's name is its key: rename one of the two.",
    )


def row_problems(
    path: Path, table: pd.DataFrame, photos: Collection[str], folder: str, complete: bool
) -> Iterator[InputProblems]:
    """Yield what is wrong with the rows of the csv file `path`, of which `read_table` returned `table`.

    Each row is about one of `photos`, which lie in `folder`; if the file is `complete`, each photo has a row.
    """
    images = table["Image"]
    rows = pd.Series([f"line {line}: {image!r}" for line, image in images.items()], images.index, dtype=object)
    repeats = images[images.duplicated(keep=False)]
    yield from input_problems(
        f"{path}: photos with several rows",
        [f"{image!r}: lines {', '.join(map(str, lines))}" for image, lines in repeats.groupby(repeats).groups.items()],
        "Keep one row a photo.",
    )
    plain = ~images.str.contains(r"[/\\]") & ~images.isin([".", ".."])
    yield from input_problems(
        f"{path}: names that are no plain file names",
        rows[~plain].tolist(),
        f"Image is the name of a file directly in {folder}, without any folder.",
    )
    yield from input_problems(
        f"{path}: rows without a photo in {folder}",
        rows[plain & ~images.isin(photos)].tolist(),
        f"Put the photos into {folder} or remove the rows.",
    )
    yield from input_problems(
        f"{path}: photos of {folder} without a row",
        [repr(image) for image in sorted({*photos} - {*images})] if complete else [],
        f"Add their rows or take the photos out of {folder}.",
    )
    if "Id" in table:
        labels = [f"{row} has {label!r}" for row, label in zip(rows, table["Id"], strict=True)]
        yield from label_problems(f"{path}: labels", list(zip(labels, table["Id"], strict=True)))


def label_problems(what: str, labels: Sequence[tuple[str, str]]) -> Iterator[InputProblems]:
    """Yield which of `labels`, each after its place for messages, cannot be used; messages begin with `what`."""
    yield from input_problems(
        f"{what} that are empty or hold white space",
        [where for where, label in labels if label.split() != [label] or has_unsafe_characters(label)],
        f"Give each photo one label without control characters, {NEW_WHALE} if its whale has none, with _ for a space: "
        "a space separates labels in submissions.",
    )
    yield from input_problems(
        f"{what} that a spreadsheet would run as a formula",
        [where for where, label in labels if label.startswith(FORMULA)],
        f"Rename these whales: a label begins with none of {' '.join(FORMULA[:4])}.",
    )


def box_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table`, `Image,x0,y0,x1,y1` and maybe `aspect` as text, with numbers; NaN for other text."""
    # by float: pandas takes other texts for numbers
    return table.assign(**{name: table[name].map(_number).astype(float) for name in table.columns[1:]})


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def box_problems(path: Path, table: pd.DataFrame) -> Iterator[InputProblems]:
    """Yield the boxes of `table`, as for `box_numbers`, that are empty, not inside their photo, or no numbers."""
    boxes = box_numbers(table)
    good = (boxes["x0"] >= 0) & (boxes["x0"] < boxes["x1"]) & (boxes["x1"] <= 1)
    good &= (boxes["y0"] >= 0) & (boxes["y0"] < boxes["y1"]) & (boxes["y1"] <= 1)
    if "aspect" in table:
        good &= (table["aspect"] == "") | ((boxes["aspect"] > 0) & (boxes["aspect"] < math.inf))
    yield from input_problems(
        f"{path}: boxes that are empty, or not inside their photo",
        [f"line {line}: {image!r} has {', '.join(cells)}" for line, image, *cells in table[~good].itertuples()],
        "Give fractions of width and height with 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1, and an aspect above 0 or none.",
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
