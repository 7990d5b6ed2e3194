"""What can be wrong with the files of a catalogue folder: each check yields all problems of its kind."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from whaleid.core.errors import InputProblems
from whaleid.core.labels import NEW_WHALE

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Files with other suffixes, and hidden ones, are no photos and are passed over."""
CORNERS = ["x0", "y0", "x1", "y1"]
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that spreadsheets run as a formula; of full width in some languages."""
REORDERING = (*"\u202a\u202b\u202c\u202d\u202e", *"\u2066\u2067\u2068\u2069")
"""Characters that make a terminal, or a page, show others in another order than they stand in."""


def no_photos(root: Path, train: list[str]) -> Iterator[InputProblems]:
    """Yield that there are no labelled photos, if so."""
    yield from found(
        "Folders without photos",
        [] if train else [str(root / "train")],
        f"Labelled photos are files named {', '.join(SUFFIXES)}, directly in train/.",
    )


def photo_problems(train: list[str], test: list[str]) -> Iterator[InputProblems]:
    """Yield what is wrong with the names of the photos in `train/` and `test/`."""
    yield from found(
        "Photos with names that cannot be written to a csv file",
        [ascii(name) for name in [*train, *test] if unwritable(name)],
        "Rename them.",
    )
    yield from found(
        "Photos with names that a spreadsheet would run as a formula",
        [repr(name) for name in [*train, *test] if name.startswith(FORMULA)],
        f"Rename them: a name begins with none of {' '.join(FORMULA[:4])}.",
    )
    yield from found(
        "Photos of the same name in train/ and test/",
        [repr(name) for name in sorted({*train} & {*test})],
        "A photo's name is its key: rename one of the two.",
    )


def table_problems(
    path: Path, table: pd.DataFrame, train: list[str], test: list[str], unfinished: bool
) -> Iterator[InputProblems]:
    """Yield what is wrong with the rows of one csv file; `table` is what `read_table` returned for `path`.

    Rows of train.csv are about the photos of `train`, those of boxes.csv about any, all others about `test`. Photos
    without a row are told of, but for boxes.csv, and where the catalogue is `unfinished`.
    """
    yield from _repeated(path, table)
    if path.name == "train.csv":
        yield from _unmatched(path, table, train, "train/", all_of_them=not unfinished)
    elif path.name == "boxes.csv":
        yield from _unmatched(path, table, [*train, *test], "train/ or test/", all_of_them=False)
        yield from _bad_boxes(path, table)
    else:
        yield from _unmatched(path, table, test, "test/", all_of_them=not unfinished)
    if "Id" in table:
        yield from _bad_labels(path, table)


def _repeated(path: Path, table: pd.DataFrame) -> Iterator[InputProblems]:
    repeats = table[table["Image"].duplicated(keep=False)].groupby("Image")
    yield from found(
        f"{path}: photos with several rows",
        [f"{image!r}: lines {', '.join(map(str, rows.index))}" for image, rows in repeats],
        "Keep one row a photo.",
    )


def _unmatched(
    path: Path, table: pd.DataFrame, photos: list[str], folder: str, all_of_them: bool
) -> Iterator[InputProblems]:
    """Yield rows that name no photo of `folder` and, with `all_of_them`, photos that no row names."""
    known = set(photos)
    leaving, strange = [], []
    for line, image in table["Image"].items():
        if leaves(image):
            leaving.append(f"line {line}: {image!r}")
        elif image not in known:
            strange.append(f"line {line}: {image!r}")
    yield from found(
        f"{path}: names that are no plain file names",
        leaving,
        f"Image is the name of a file directly in {folder}, without any folder.",
    )
    yield from found(
        f"{path}: rows without a photo in {folder}",
        strange,
        f"Put the photos into {folder} or remove the rows.",
    )
    if all_of_them:
        yield from found(
            f"{path}: photos of {folder} without a row",
            [repr(image) for image in sorted(known - {*table["Image"]})],
            f"Add their rows or take the photos out of {folder}.",
        )


def _bad_labels(path: Path, table: pd.DataFrame) -> Iterator[InputProblems]:
    rows = [
        (f"line {line}: {image!r} has {label!r}", label) for line, image, label in table[["Image", "Id"]].itertuples()
    ]
    yield from found(
        f"{path}: labels that are empty or hold white space",
        [said for said, label in rows if label.split() != [label] or unwritable(label)],
        f"Give each photo one Id, {NEW_WHALE} if its whale has none; a space separates labels in submissions.",
    )
    yield from found(
        f"{path}: labels that a spreadsheet would run as a formula",
        [said for said, label in rows if label.startswith(FORMULA)],
        f"Rename these whales: a label begins with none of {' '.join(FORMULA[:4])}.",
    )


def _bad_boxes(path: Path, table: pd.DataFrame) -> Iterator[InputProblems]:
    bad = []
    for line, image, *cells in table.itertuples():
        x0, y0, x1, y1, *aspect = map(_number, cells)
        inside = 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
        if not inside or not all(0 < value < math.inf for value in aspect):
            bad.append(f"line {line}: {image!r} has {', '.join(cells)}")
    yield from found(
        f"{path}: boxes that are empty, or not inside their photo",
        bad,
        "Give fractions of width and height with 0 ≤ x0 < x1 ≤ 1 and 0 ≤ y0 < y1 ≤ 1, and an aspect above 0.",
    )


def tiny_box_problems(path: Path, boxes: pd.DataFrame, photos: pd.DataFrame) -> Iterator[InputProblems]:
    """Yield which of `boxes`, of the file `path`, leave less than a pixel's width or height of their photo.

    `boxes` is `Image,x0,y0,x1,y1`, numbers; `photos` is `Image,width,height` of these photos and maybe others.
    """
    sizes = photos[["Image", "width", "height"]]
    across, down = boxes["x1"] - boxes["x0"], boxes["y1"] - boxes["y0"]
    sized = boxes[["Image", *CORNERS]].assign(across=across, down=down).merge(sizes, on="Image")
    tiny = sized[(sized["across"] * sized["width"] < 1) | (sized["down"] * sized["height"] < 1)]
    yield from found(
        f"{path}: boxes that leave less than a pixel of their photo",
        [
            f"{row.Image!r} has {row.x0:g}, {row.y0:g}, {row.x1:g}, {row.y1:g} of {row.width} x {row.height} pixels"
            for row in tiny.itertuples()
        ],
        "Correct these boxes, or remove their rows.",
    )


def _number(text: str) -> float:
    """Return the number that `text` says, or NaN, which no comparison accepts."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def unwritable(text: str) -> bool:
    """Tell whether `text` holds what a csv would not keep or a terminal not show as it is.

    That is control characters, ends of lines and paragraphs, bytes that are no text, and characters of `REORDERING`.
    """
    return any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in REORDERING for character in text
    )


def leaves(name: str) -> bool:
    """Tell whether `name` is more than the plain name of a file, on any system."""
    return any(sign in name for sign in "/\\") or name in (".", "..")


def found(what: str, where: Sequence[str], remedy: str) -> Iterator[InputProblems]:
    """Yield one kind of problem, where there are any."""
    if where:
        yield InputProblems(what, where, remedy)


def is_file(path: Path) -> bool:
    """Tell whether there is a file `path`, which a stranger may have written: the system may not take such a path."""
    try:
        return path.is_file()
    except OSError:
        return False
