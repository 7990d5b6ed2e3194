"""A source that is a csv file: a row a labelled photo, under any column names; wildlife-datasets' tables among them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from whaleid.catalog.checks import CORNERS, is_file
from whaleid.catalog.table import header, read_table
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.importing.source import UNNAMED, Box, Entry, Source, label

PHOTO = ("Image", "photo", "image", "filename", "file_name", "file", "path")
WHALE = ("Id", "whale", "identity", "individual", "individual_id")
"""What columns are called where nobody says it."""
BOX = "bbox"
"""The column of wildlife-datasets: `[x, y, width, height]`, in pixels."""
SPLIT = "split"
QUERIES = ("test", "query")
"""Values of the column `split` that make a row a photo to identify."""


@dataclass(frozen=True)
class Columns:
    """What a user said of a csv file; None is to be found out."""

    photo: str | None = None
    whale: str | None = None
    box: str | None = None
    """Four names, comma between: left, top, right and bottom."""
    photos: Path | None = None
    """The folder that paths are relative to; else that of the file."""


def rows(path: Path, said: Columns) -> Source:
    """Return the photos that the csv file `path` names.

    Raises:
        WhaleidError: the file is no csv, or its columns cannot be told.
        InputProblems: boxes that are no numbers.
    """
    there = header(path)
    photo = _column(path, there, said.photo, PHOTO, "--photo-column", "photo's path")
    whale = _column(path, there, said.whale, WHALE, "--whale-column", "whale")
    corners = _corners(said, there)
    table = read_table(path, list(dict.fromkeys([photo, whale, *corners])), [BOX, SPLIT])
    root = path.parent if said.photos is None else said.photos
    boxes = _boxes(path, table, corners)
    entries = []
    for (line, row), box in zip(table.iterrows(), boxes, strict=True):
        where = f"{path}, line {line}: {row[photo]!r}"
        query = SPLIT in table and row[SPLIT].casefold() in QUERIES
        known = query and row[whale].casefold() not in UNNAMED
        whale_of = label(row[whale])
        entries.append(Entry(_file(root, row[photo]), "" if query else whale_of, where, box, whale_of if known else ""))
    return Source(f"a csv file: photos by {photo!r}, whales by {whale!r}", root, entries)


def _file(root: Path, text: str) -> Path:
    """Return the file that a row names; tables that were made on Windows have backslashes between folders."""
    path = root / text
    return path if "\\" not in text or is_file(path) else root / text.replace("\\", "/")


def _column(path: Path, there: Sequence[str], said: str | None, usual: Sequence[str], option: str, what: str) -> str:
    found = [name for name in usual if name in there] if said is None else [name for name in there if name == said]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(repr, there))
    if said is not None:
        why = f"no column is named {said!r}" if not found else f"several columns are named {said!r}"
    elif found:
        why = f"which column holds the {what} cannot be told: {' or '.join(map(repr, found))}"
    else:
        why = f"which column holds the {what} cannot be told: none is named {', '.join(usual)}"
    raise WhaleidError(f"{path}: {why}. The columns there are: {listed}. Say which with {option} NAME.")


def _corners(said: Columns, there: Sequence[str]) -> list[str]:
    """Return the columns of boxes: those said or, where there are such, `x0,y0,x1,y1`."""
    if said.box is None:
        return CORNERS if set(CORNERS) <= set(there) else []
    names = [name.strip() for name in said.box.split(",")]
    if len(names) != 4:
        raise WhaleidError(
            f"--box-columns {said.box}: takes four names with commas between: those of the left, top, right and bottom."
        )
    return names


def _boxes(path: Path, table: pd.DataFrame, corners: Sequence[str]) -> list[Box | None]:
    """Return the box of each row; empty cells are none. Fractions are what no number of the file is above 1 in."""
    bad, found = [], []
    for line, row in table.iterrows():
        cells = [row[name] for name in corners]
        text = "" if corners or BOX not in table else row[BOX].strip()
        try:
            numbers = [float(cell) for cell in cells] if any(cells) else json.loads(text) if text else None
            if numbers is not None and len(numbers) != 4:
                raise ValueError
            found.append(None if numbers is None else tuple(float(number) for number in numbers))
        except (ValueError, TypeError, OverflowError, RecursionError):
            bad.append(f"line {line}: {', '.join(cells) or text}")
    if bad:
        form = "four numbers" if corners else "[x, y, width, height] in pixels"
        raise InputProblems(
            f"{path}: boxes that cannot be read", bad, f"Write {form}, or nothing where there is no box."
        )
    if not corners:
        return [None if box is None else Box((box[0], box[1], box[0] + box[2], box[1] + box[3]), True) for box in found]
    pixels = any(number > 1 for box in found if box is not None for number in box)
    return [None if box is None else Box((box[0], box[1], box[2], box[3]), pixels) for box in found]
