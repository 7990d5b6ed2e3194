"""Read a source that is a csv file: one row per photo, with any column names."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pandas as pd

from whaleid.catalog.dialect import parse
from whaleid.catalog.table import header, read_table
from whaleid.core.errors import WhaleidError
from whaleid.core.labels import CORNERS
from whaleid.importing.layouts import QUERY_SPLITS
from whaleid.importing.source import (
    NO_NAME,
    Entry,
    Index,
    Rectangle,
    Source,
    find_file,
    from_bbox,
    from_corners,
    missing_hint,
    note,
)

PHOTO_COLUMNS = ("Image", "photo", "image", "filename", "file_name", "file", "path")
WHALE_COLUMNS = ("Id", "whale", "identity", "individual", "individual_id")
"""Names of the columns of photos and whales, if the user names none."""
OTHER_PHOTO_COLUMNS = ("picture", "imagename", "filepath", "imagepath")
OTHER_WHALE_COLUMNS = ("individualid", "whaleid", "whalename", "animalid", "label")
"""Names that count if the file has none of the above; `Whale ID` and `whale_id` are `whaleid`, too."""
BBOX = "bbox"
"""The column of boxes in wildlife-datasets: `[x, y, width, height]`, in pixels."""
MAX_TITLES = 5
"""Maximum number of lines above the header in which it is still looked for, to tell the user."""
SPLIT = "split"
"""The column that says whether a photo is a query, by a word of `QUERY_SPLITS`. Case does not matter."""


@dataclass(frozen=True)
class Columns:
    """The user's options for a csv file. Options that are None are inferred."""

    photo: str | None = None
    whale: str | None = None
    box: str | None = None  # four names, separated by commas: left, top, right and bottom edge
    photos: Path | None = None  # the folder that paths start from; by default the folder of the csv file


def read(path: Path, columns: Columns, photos: Index | None = None) -> Source:
    """Read the photos that the csv file `path` lists, by their paths or as in `find_file`.

    Raises:
        WhaleidError: the file is not csv, has no rows, or its columns cannot be inferred.
    """
    names = header(path)
    photo_names = (PHOTO_COLUMNS, OTHER_PHOTO_COLUMNS)
    photo = _column(path, names, columns.photo, photo_names, "--photo-column", "path of the photo")
    whale = _column(path, names, columns.whale, (WHALE_COLUMNS, OTHER_WHALE_COLUMNS), "--whale-column", "whale")
    corners = _corner_columns(columns.box, names)
    table = read_table(path, list(dict.fromkeys([photo, whale, *corners])), [BBOX, SPLIT])
    root = path.parent if columns.photos is None else columns.photos
    if table.empty:
        raise WhaleidError(f"{path} has no rows below its header. Add a row for each photo.")
    rectangles, notes = _rectangles(path, table, corners)
    entries = []
    for (line, row), rectangle in zip(table.iterrows(), rectangles, strict=True):
        is_query = SPLIT in table and row[SPLIT].casefold() in QUERY_SPLITS
        label, truth = ("", row[whale]) if is_query else (row[whale] or NO_NAME, "")
        file = find_file(root, row[photo], photos)
        location = f"{path}, line {line}: {row[photo]!r}{missing_hint(file, row[photo], photos)}"
        entries.append(Entry(file, label, location, rectangle, truth))
    return Source(f"a csv file: photos by {photo!r}, whales by {whale!r}", root, entries, notes=notes)


def _column(
    path: Path,
    names: Sequence[str],
    requested: str | None,
    default_names: tuple[Sequence[str], Sequence[str]],
    option: str,
    content: str,
) -> str:
    """Return the `requested` column or, if it is None, the only one of `default_names`: the first, else the second."""
    if requested is not None:
        candidates = [name for name in names if name == requested]
        reason = f"{'several columns are' if candidates else 'no column is'} named {requested!r}"
    else:
        all_names = [*default_names[0], *default_names[1]]
        candidates = [name for name in names if name in default_names[0]] or [
            name for name in names if re.sub(r"[\s_-]", "", name.casefold()) in all_names
        ]
        detail = " or ".join(map(repr, candidates)) or f"none is named {', '.join(all_names)}"
        reason = f"it is not clear which column contains the {content}: {detail}"
    if not candidates and (line := _header_line(path, requested, default_names)):
        raise WhaleidError(f"{path}: line {line} looks like the header. Remove the lines above it.")
    if len(candidates) != 1:
        columns = f"Columns of the file: {', '.join(map(repr, names))}"
        raise WhaleidError(f"{path}: {reason}. {columns}. Name one with {option} NAME.")
    return candidates[0]


def _header_line(path: Path, requested: str | None, default_names: tuple[Sequence[str], Sequence[str]]) -> int | None:
    """Return the line of the first row that has the name of the column that was not found; None if there is none."""
    wanted = {requested} if requested else {*default_names[0], *default_names[1]}
    rows = islice(parse(path)[1].items(), MAX_TITLES)
    return next((line for line, cells in rows if wanted & {*map(str.strip, cells)}), None)


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


def _rectangles(path: Path, table: pd.DataFrame, corners: Sequence[str]) -> tuple[list[Rectangle | None], list[str]]:
    """Return the box of each row, None if its cells are not a box, and a note that counts those with other text.

    Numbers may have a decimal comma. If any corner is above 1, all are in pixels.
    """
    other: list[str] = []
    boxes: list[Rectangle | None] = []
    for line, row in table.iterrows():
        cells = [row[name] for name in corners or [BBOX] if name in table]
        try:
            box = from_corners(cell.replace(",", ".") for cell in cells) if corners else from_bbox(json.loads(cells[0]))
        except (ValueError, TypeError, OverflowError, RecursionError, IndexError):
            box = None
        boxes.append(box)
        if box is None and any(map(str.strip, cells)):
            other.append(f"line {line}: {', '.join(cells)}")
    notes = note(
        f"boxes are ignored, since they are empty or not {'four numbers' if corners else '[x, y, width, height]'}",
        other,
    )
    pixels = not corners or any(corner > 1 for box in boxes if box for corner in box.corners)
    return [box and replace(box, pixels=pixels) for box in boxes], notes
