"""Checks of the names, labels, rows and boxes of a catalogue folder. Each check yields all problems that it detects."""

import math
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pandas as pd

from whaleid.core.errors import InputProblems
from whaleid.core.labels import NEW_WHALE

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of cells that spreadsheets run as formulas. The last four are full-width forms."""
BIDI_CONTROLS = (*"\u202a\u202b\u202c\u202d\u202e", *"\u2066\u2067\u2068\u2069")
"""Unicode's bidirectional controls, which change the order in which other characters are displayed."""


def has_unsafe_characters(text: str) -> bool:
    """Return whether `text` contains characters that a csv file does not preserve or a terminal does not print.

    These are control characters, line and paragraph separators, bytes that are not text, and `BIDI_CONTROLS`.
    """
    return any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in BIDI_CONTROLS for character in text
    )


def is_file(path: Path) -> bool:
    """Return whether `path` is a file; False if the operating system does not accept the path."""
    try:
        return path.is_file()
    except OSError:
        return False


def input_problems(problem: str, locations: Sequence[str], remedy: str) -> Iterator[InputProblems]:
    """Yield the problem if it has locations."""
    if locations:
        yield InputProblems(problem, locations, remedy)


def name_problems(train: Sequence[str], test: Sequence[str]) -> Iterator[InputProblems]:
    """Check the file names of the photos in `train/` and `test/`."""
    names = [*train, *test]
    yield from input_problems(
        "Photos with names that cannot be written to a csv file",
        [ascii(name) for name in names if has_unsafe_characters(name)],
        "Rename them without control characters.",
    )
    yield from input_problems(
        "Photos with names that a spreadsheet would run as a formula",
        [repr(name) for name in names if name.startswith(FORMULA)],
        f"Rename them: a name must not begin with {' '.join(FORMULA[:4])}.",
    )
    yield from input_problems(
        "Photos with the same name in train/ and test/",
        [repr(name) for name in sorted({*train} & {*test})],
        "Rename one of the two, also in the csv files.",
    )


def row_problems(
    path: Path, table: pd.DataFrame, photos: Collection[str], folder: str, complete: bool
) -> Iterator[InputProblems]:
    """Check the rows of the csv file `path`, which `read_table` has read as `table`.

    Each row must name one of `photos`, the file names in `folder`. If the file is `complete`, each photo has a row.
    """
    images = table["Image"]
    rows = pd.Series([f"line {line}: {image!r}" for line, image in images.items()], images.index, dtype=object)
    repeats = images[images.duplicated(keep=False)]
    yield from input_problems(
        f"{path}: photos with several rows",
        [f"{image!r}: lines {', '.join(map(str, lines))}" for image, lines in repeats.groupby(repeats).groups.items()],
        "Keep one row per photo.",
    )
    is_file_name = ~images.str.contains(r"[/\\]") & ~images.isin([".", ".."])
    yield from input_problems(
        f"{path}: names that are not plain file names",
        rows[~is_file_name].tolist(),
        f"Write the name of a file directly in {folder}, without a folder.",
    )
    yield from input_problems(
        f"{path}: rows without a photo in {folder}",
        rows[is_file_name & ~images.isin(photos)].tolist(),
        f"Put the photos into {folder}, correct their names (a.JPG is not a.jpg), or remove the rows.",
    )
    yield from input_problems(
        f"{path}: photos in {folder} without a row",
        [repr(image) for image in sorted({*photos} - {*images})] if complete else [],
        f"Add their rows, or move the photos out of {folder}.",
    )
    if "Id" in table:
        labels = [f"{row} has {label!r}" for row, label in zip(rows, table["Id"], strict=True)]
        yield from label_problems(f"{path}: labels", list(zip(labels, table["Id"], strict=True)))


def label_problems(subject: str, labels: Sequence[tuple[str, str]]) -> Iterator[InputProblems]:
    """Check `labels`, pairs of a location and a label. Messages begin with `subject`, a noun such as "labels"."""
    yield from input_problems(
        f"{subject} that are empty, or contain spaces or control characters",
        [location for location, label in labels if label.split() != [label] or has_unsafe_characters(label)],
        f"Give each photo one label: the name of its whale with _ instead of spaces, or {NEW_WHALE} if it has no name. "
        "Spaces separate labels in submissions.",
    )
    yield from input_problems(
        f"{subject} that a spreadsheet would run as a formula",
        [location for location, label in labels if label.startswith(FORMULA)],
        f"Rename these whales: a label must not begin with {' '.join(FORMULA[:4])}.",
    )


def parse_boxes(table: pd.DataFrame) -> pd.DataFrame:
    """Convert the text of the columns `x0,y0,x1,y1` and, if it exists, `aspect` to floats; NaN for other text."""
    # not by pandas, which accepts texts that float refuses
    return table.assign(**{name: table[name].map(_number).astype(float) for name in table.columns[1:]})


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def box_problems(path: Path, table: pd.DataFrame) -> Iterator[InputProblems]:
    """Check that boxes are numbers, not empty, and inside their photo. `table` is as in `parse_boxes`."""
    boxes = parse_boxes(table)
    valid = (boxes["x0"] >= 0) & (boxes["x0"] < boxes["x1"]) & (boxes["x1"] <= 1)
    valid &= (boxes["y0"] >= 0) & (boxes["y0"] < boxes["y1"]) & (boxes["y1"] <= 1)
    if "aspect" in table:
        valid &= (table["aspect"] == "") | ((boxes["aspect"] > 0) & (boxes["aspect"] < math.inf))
    yield from input_problems(
        f"{path}: boxes that are empty, or not inside their photo",
        [f"line {line}: {image!r} has {', '.join(cells)}" for line, image, *cells in table[~valid].itertuples()],
        "Give fractions of width and height with 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1. An aspect is above 0 or empty.",
    )


def tiny_box_problems(path: Path, boxes: pd.DataFrame, photos: pd.DataFrame) -> Iterator[InputProblems]:
    """Check that the boxes of the file `path` are at least one pixel wide and high.

    `boxes` has the columns `Image,x0,y0,x1,y1`, as fractions; `photos` has `Image,width,height`, in pixels.
    """
    sized = boxes.merge(photos[["Image", "width", "height"]], on="Image")
    width, height = (sized["x1"] - sized["x0"]) * sized["width"], (sized["y1"] - sized["y0"]) * sized["height"]
    yield from input_problems(
        f"{path}: boxes less than one pixel wide or high",
        [
            f"{row.Image!r} has {row.x0:g}, {row.y0:g}, {row.x1:g}, {row.y1:g} of {row.width} x {row.height} pixels"
            for row in sized[(width < 1) | (height < 1)].itertuples()
        ],
        "Correct these boxes, or remove their rows.",
    )
