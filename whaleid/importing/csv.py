"""A source that is a csv file: one labelled photo per row, under any column names."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from whaleid.catalog.checks import is_file
from whaleid.catalog.table import header, read_table
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.labels import CORNERS
from whaleid.importing.source import UNNAMED, Entry, Rectangle, Source, from_bbox, label

PHOTO_COLUMNS = ("Image", "photo", "image", "filename", "file_name", "file", "path")
WHALE_COLUMNS = ("Id", "whale", "identity", "individual", "individual_id")
"""Column names that are looked for where the user names none."""
BBOX = "bbox"
"""The column of wildlife-datasets: `[x, y, width, height]`, in pixels."""
SPLIT = "split"
QUERIES = ("test", "query")
"""Values of the column `split` that make a row a photo to identify."""


@dataclass(frozen=True)
class Columns:
    """The user's options for a csv file; None for what is to be inferred."""

    photo: str | None = None
    whale: str | None = None
    box: str | None = None  # four names, separated by commas: left, top, right and bottom
    photos: Path | None = None  # the folder that paths are relative to; by default that of the file


def read(path: Path, columns: Columns) -> Source:
    """Read the photos that the csv file `path` lists.

    Raises:
        WhaleidError: the file is no csv, or its columns cannot be inferred.
        InputProblems: boxes that are no numbers.
    """
    names = header(path)
    photo = _column(path, names, columns.photo, PHOTO_COLUMNS, "--photo-column", "photo's path")
    whale = _column(path, names, columns.whale, WHALE_COLUMNS, "--whale-column", "whale")
    corners = _corner_columns(columns.box, names)
    table = read_table(path, list(dict.fromkeys([photo, whale, *corners])), [BBOX, SPLIT])
    root = path.parent if columns.photos is None else columns.photos
    entries = []
    for (line, row), rectangle in zip(table.iterrows(), _rectangles(path, table, corners), strict=True):
        query = SPLIT in table and row[SPLIT].casefold() in QUERIES
        whale_label = label(row[whale])
        truth = whale_label if query and row[whale].casefold() not in UNNAMED else ""
        where = f"{path}, line {line}: {row[photo]!r}"
        entries.append(Entry(_file(root, row[photo]), "" if query else whale_label, where, rectangle, truth))
    return Source(f"a csv file: photos by {photo!r}, whales by {whale!r}", root, entries)


def _file(root: Path, text: str) -> Path:
    """Return the file that a row names; tables made on Windows have backslashes between folders."""
    path = root / text
    return path if "\\" not in text or is_file(path) else root / text.replace("\\", "/")


def _column(
    path: Path, names: Sequence[str], named: str | None, usual: Sequence[str], option: str, content: str
) -> str:
    """Return the column that the user `named` or, of the `usual` ones, the only one in the file."""
    if named is not None:
        candidates = [name for name in names if name == named]
        why = f"{'several columns are' if candidates else 'no column is'} named {named!r}"
    else:
        candidates = [name for name in usual if name in names]
        reason = " or ".join(map(repr, candidates)) or f"none is named {', '.join(usual)}"
        why = f"which column holds the {content} is not clear: {reason}"
    if len(candidates) != 1:
        raise WhaleidError(f"{path}: {why}. Columns: {', '.join(map(repr, names))}. Name it with {option} NAME.")
    return candidates[0]


def _corner_columns(named: str | None, names: Sequence[str]) -> list[str]:
    """Return the columns of boxes: those that the user `named` or, where the file has them, `x0,y0,x1,y1`."""
    if named is None:
        return CORNERS if set(CORNERS) <= set(names) else []
    columns = [name.strip() for name in named.split(",")]
    if len(columns) != 4:
        raise WhaleidError(f"--box-columns {named}: name four, with commas: the left, top, right and bottom edge.")
    return columns


def _rectangles(path: Path, table: pd.DataFrame, corners: Sequence[str]) -> list[Rectangle | None]:
    """Return the box of each row, None where cells are empty; corners are pixels if any of them is above 1."""
    bad: list[str] = []
    boxes: list[Rectangle | None] = []
    for line, row in table.iterrows():
        cells = [row[name] for name in corners or [BBOX] if name in table]
        try:
            if not any(map(str.strip, cells)):
                boxes.append(None)
            elif corners:
                boxes.append(Rectangle(tuple(map(float, cells))))
            else:
                boxes.append(from_bbox(json.loads(cells[0])))
        except (ValueError, TypeError, OverflowError, RecursionError):
            bad.append(f"line {line}: {', '.join(cells)}")
    if bad:
        form = "four numbers" if corners else "[x, y, width, height] in pixels"
        raise InputProblems(f"{path}: boxes that cannot be read", bad, f"Write {form}, or nothing for a photo without.")
    pixels = not corners or any(corner > 1 for box in boxes if box for corner in box.corners)
    return [box and replace(box, pixels=pixels) for box in boxes]
