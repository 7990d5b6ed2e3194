"""Read a source that is a csv file: one row per photo, with any column names."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from whaleid.catalog.checks import is_file
from whaleid.catalog.table import header, read_table
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.labels import CORNERS
from whaleid.importing.source import UNNAMED, Entry, Rectangle, Source, from_bbox, to_label

PHOTO_COLUMNS = ("Image", "photo", "image", "filename", "file_name", "file", "path")
"""Column names that are recognized as the path of the photo."""
WHALE_COLUMNS = ("Id", "whale", "identity", "individual", "individual_id")
"""Column names that are recognized as the whale."""
BBOX = "bbox"
"""The column of boxes in wildlife-datasets: `[x, y, width, height]`, in pixels."""
SPLIT = "split"
"""The column that says whether a photo is a query."""
QUERIES = ("test", "query")
"""Values of the column `split` that make a photo a query. Case does not matter."""


@dataclass(frozen=True)
class Columns:
    """The user's options for a csv file. Options that are None are inferred."""

    photo: str | None = None
    whale: str | None = None
    box: str | None = None  # four names, separated by commas: left, top, right and bottom edge
    photos: Path | None = None  # the folder that paths start from; by default that of the csv file


def read(path: Path, columns: Columns) -> Source:
    """Read the photos that the csv file `path` lists.

    Raises:
        WhaleidError: the file is not csv, or its columns cannot be inferred.
        InputProblems: boxes are not numbers.
    """
    names = header(path)
    photo = _column(path, names, columns.photo, PHOTO_COLUMNS, "--photo-column", "path of the photo")
    whale = _column(path, names, columns.whale, WHALE_COLUMNS, "--whale-column", "whale")
    corners = _corner_columns(columns.box, names)
    table = read_table(path, list(dict.fromkeys([photo, whale, *corners])), [BBOX, SPLIT])
    root = path.parent if columns.photos is None else columns.photos
    entries = []
    for (line, row), rectangle in zip(table.iterrows(), _rectangles(path, table, corners), strict=True):
        is_query = SPLIT in table and row[SPLIT].casefold() in QUERIES
        label = to_label(row[whale])
        truth = label if is_query and row[whale].casefold() not in UNNAMED else ""
        location = f"{path}, line {line}: {row[photo]!r}"
        entries.append(Entry(_photo_path(root, row[photo]), "" if is_query else label, location, rectangle, truth))
    return Source(f"a csv file: photos by {photo!r}, whales by {whale!r}", root, entries)


def _photo_path(root: Path, cell: str) -> Path:
    """Return the path that a cell names. Tables written on Windows have backslashes between folders."""
    path = root / cell
    return path if "\\" not in cell or is_file(path) else root / cell.replace("\\", "/")


def _column(
    path: Path, names: Sequence[str], requested: str | None, default_names: Sequence[str], option: str, content: str
) -> str:
    """Return the `requested` column or, if it is None, the only one of `default_names` in the file."""
    if requested is not None:
        candidates = [name for name in names if name == requested]
        reason = f"{'several columns are' if candidates else 'no column is'} named {requested!r}"
    else:
        candidates = [name for name in default_names if name in names]
        detail = " or ".join(map(repr, candidates)) or f"none is named {', '.join(default_names)}"
        reason = f"it is not clear which column contains the {content}: {detail}"
    if len(candidates) != 1:
        columns = f"Columns of the file, separated by commas: {', '.join(map(repr, names))}"
        raise WhaleidError(f"{path}: {reason}. {columns}. Name one with {option} NAME.")
    return candidates[0]


def _corner_columns(requested: str | None, names: Sequence[str]) -> list[str]:
    """Return the columns of boxes: those `requested`, else `x0,y0,x1,y1` if the file has them, else none."""
    if requested is None:
        return CORNERS if set(CORNERS) <= set(names) else []
    columns = [name.strip() for name in requested.split(",")]
    if len(columns) != 4:
        raise WhaleidError(
            f"--box-columns {requested}: name four columns, separated by commas: left, top, right and bottom edge."
        )
    return columns


def _rectangles(path: Path, table: pd.DataFrame, corners: Sequence[str]) -> list[Rectangle | None]:
    """Return the box of each row, or None if its cells are empty. If any corner is above 1, all are in pixels."""
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
        remedy = f"Write {form}, or leave the cells empty for a photo without a box."
        raise InputProblems(f"{path}: boxes that cannot be read", bad, remedy)
    pixels = not corners or any(corner > 1 for box in boxes if box for corner in box.corners)
    return [box and replace(box, pixels=pixels) for box in boxes]
