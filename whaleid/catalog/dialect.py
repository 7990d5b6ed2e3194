"""Csv files as spreadsheets of any country and system write them, parsed into a header and rows of cells."""

import codecs
import csv
import io
import re
from collections import Counter
from contextlib import suppress
from itertools import islice
from pathlib import Path

from whaleid.core.errors import WhaleidError

DELIMITERS = (",", ";", "\t", "|")
BLANK = " " + "".join(DELIMITERS)
"""Characters of a row without text, for any delimiter."""
SEP = re.compile(r'"?sep=(.)"?[,;\t|]*', re.IGNORECASE)
"""A first line that names the delimiter, as Excel reads and writes it."""
MAX_ROWS = 20
"""Maximum number of rows by which the delimiter is chosen."""
ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, because this mark begins with the UTF-16 mark
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by the byte-order mark that a file begins with."""


def parse(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    """Read the header of the csv file `path`, and the cells of each row by the line on which the row begins.

    The encoding is UTF-8, or UTF-16 or UTF-32 as Windows writes it. A first line such as `sep=;` sets the delimiter.
    Otherwise it is comma, semicolon, tab or bar: the one that divides most of the first rows into the same number of
    cells. Any line end is accepted. White space after a delimiter and around names, empty rows, and empty cells to the
    right of the header are removed.

    Raises:
        WhaleidError: the file is of another encoding, not csv, or empty, or has a title above its header.
    """
    text = _decode(path)
    first = text[:20].splitlines()[:1]
    delimiter = sep[1] if (sep := SEP.fullmatch("".join(first))) else _delimiter(text)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True
    )
    rows, line = {}, 1
    try:
        for cells in reader:
            if any(map(str.strip, cells)) and not (sep and line == 1):
                rows[line] = cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise WhaleidError(
            f"{path}, line {line} cannot be read as csv: {error}. Close each double quote that opens a cell."
        ) from None
    if not rows:
        raise WhaleidError(f"{path} is empty. Write the names of the columns into its first line.")
    top = next(iter(rows))
    names = [name.strip() for name in rows.pop(top)]
    if rows and _is_title(names) and not _is_title(next(iter(rows.values()))):
        raise WhaleidError(f"{path}, line {top}: {names[0]!r} is a title: remove the lines above the header.")
    return names, {line: _fitted(cells, names) for line, cells in rows.items()}


def _decode(path: Path) -> str:
    content = path.read_bytes()
    without_mark = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be" if content[:1] == b"\0" else "utf-8"
    encoding = next((name for mark, name in ENCODINGS.items() if content.startswith(mark)), without_mark)
    try:
        return content.decode(encoding).lstrip("\ufeff")  # joined files have several marks
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise WhaleidError(
            f"{path}, line {line} is not UTF-8 text. Save the file as csv in UTF-8 (in Excel: CSV UTF-8)."
        ) from None


def _delimiter(text: str) -> str:
    """Return the delimiter that divides most of the first rows into the same number of cells, then into most cells."""

    def rows_and_cells(delimiter: str) -> tuple[int, int]:
        rows = islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), MAX_ROWS)
        counts = Counter[int]()
        with suppress(csv.Error):  # `parse` reports it
            counts.update(len(row) for row in rows if "".join(row).strip(BLANK))
        del counts[1]
        return max(((number, cells) for cells, number in counts.items()), default=(0, 0))

    return max(DELIMITERS, key=rows_and_cells)


def _is_title(cells: list[str]) -> bool:
    """Return whether only the first of `cells` has a text."""
    return bool(cells[0].strip()) and not any(map(str.strip, cells[1:]))


def _fitted(cells: list[str], names: list[str]) -> list[str]:
    """Return `cells` without empty ones after the last column, and with empty ones for last columns without a name."""
    if not any(map(str.strip, cells[len(names) :])):
        cells = cells[: len(names)]
    return cells if any(names[len(cells) :]) else cells + [""] * (len(names) - len(cells))
