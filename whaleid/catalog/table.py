"""Read csv files that users wrote: every cell as text, with the line number of each row."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from whaleid.catalog.dialect import parse
from whaleid.core.errors import InputProblems, WhaleidError


def read_table(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read `columns`, and the `optional` ones that exist, as text. The index is the line number; the header is line 1.

    Cells such as `007`, `nan` or an empty cell are not converted. A byte-order mark, any line ending, empty lines and
    other columns are accepted.

    Raises:
        WhaleidError: the file is not UTF-8, not csv, or lacks a column.
        InputProblems: rows have more or fewer cells than the header.
    """
    names, rows = parse(path)
    repeated = [f"{name!r} occurs {names.count(name)} times" for name in columns if names.count(name) > 1]
    missing = []
    candidates = {name.strip().casefold(): name for name in names if name not in columns}
    for name in columns:
        if name not in names:
            matches = difflib.get_close_matches(name.casefold(), candidates, n=1, cutoff=0.5)
            missing.append(repr(name) + (f" (did you mean {candidates[matches[0]]!r}?)" if matches else ""))
    problems = [f"column repeated: {', '.join(repeated)}"] if repeated else []
    problems += [f"column missing: {', '.join(missing)}"] if missing else []
    if problems:
        raise WhaleidError(
            f"{path}: {'; '.join(problems)}. The file has: {', '.join(map(repr, names))}. Correct its first line; "
            "commas separate columns."
        )
    ragged = [
        f"line {line}: {len(cells)} cells instead of {len(names)}"
        for line, cells in rows.items()
        if len(cells) != len(names)
    ]
    if ragged:
        raise InputProblems(
            f"{path}: rows with more or fewer cells than the header",
            ragged,
            "Put double quotes around cells that contain the delimiter, and complete rows that end too early.",
        )
    selected = [*columns, *(name for name in optional if name in names)]
    table = pd.DataFrame([*rows.values()], columns=names, index=pd.Index([*rows], name="line"), dtype=str)
    return table.loc[:, ~table.columns.duplicated()][selected]


def header(path: Path) -> list[str]:
    """Return the column names of the csv file `path`.

    Raises:
        WhaleidError: the file is not UTF-8 or not csv.
    """
    return parse(path)[0]
