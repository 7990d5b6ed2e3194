"""A csv file as a user wrote it: text in every cell, and the line of each row."""

import csv
import difflib
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from whaleid.core.errors import InputProblems, WhaleidError


def read_table(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read `columns`, and those of `optional` that exist, as text; the index is the line, the header being line 1.

    Text such as `007`, `nan` or nothing at all stays as it is. A byte-order mark, any kind of line end, empty lines and
    other columns are accepted.

    Raises:
        WhaleidError: the file is not UTF-8, no csv, or lacks a column.
        InputProblems: rows with more or fewer cells than the header.
    """
    names, rows = _parse(path)
    problems = [f"{name!r} is there {names.count(name)} times" for name in columns if names.count(name) > 1]
    others = {name.strip().casefold(): name for name in names if name not in columns}
    for name in columns:
        if name not in names:
            near = difflib.get_close_matches(name.casefold(), others, n=1, cutoff=0.5)
            problems.append(f"no {name!r}" + (f" (did you mean {others[near[0]]!r}?)" if near else ""))
    if problems:
        listed = ", ".join(map(repr, names))
        raise WhaleidError(f"{path}: wrong columns: {'; '.join(problems)}. The columns there are: {listed}.")
    ragged = [
        f"line {line}: {len(cells)} instead of {len(names)}" for line, cells in rows.items() if len(cells) != len(names)
    ]
    if ragged:
        raise InputProblems(
            f"{path}: rows with another number of cells than the header",
            ragged,
            "Put quotes around cells that hold a comma.",
        )
    kept = [*columns, *(name for name in optional if name in names)]
    table = pd.DataFrame([*rows.values()], columns=names, index=pd.Index([*rows], name="line"), dtype=str)
    return table.loc[:, ~table.columns.duplicated()][kept]


def header(path: Path) -> list[str]:
    """Return the names of the columns.

    Raises:
        WhaleidError: the file is not UTF-8 or no csv.
    """
    return _parse(path)[0]


def _parse(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    """Return the header and the cells of each row by the line on which the row begins."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise WhaleidError(f"{path}, line {line}: is not UTF-8 text: save it as csv in UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = {}
    line = 1
    try:
        for cells in reader:
            if cells:
                rows[line] = cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise WhaleidError(f"{path}, line {line}: cannot be read as csv: {error}.") from None
    if not rows:
        raise WhaleidError(f"{path}: is empty: it needs a header line.")
    return rows.pop(next(iter(rows))), rows
