"""Csv files as spreadsheets of any country and system write them, parsed into a header and rows of cells."""

import codecs
import csv
import io
import re
from itertools import islice
from pathlib import Path

from whaleid.core.errors import WhaleidError

DELIMITERS = (",", ";", "\t", "|")
BLANK = " " + "".join(DELIMITERS)
"""Characters of a row without text, by whichever delimiter."""
SEP = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
"""A first line that names the delimiter, as Excel reads and writes it."""
LOOKED_AT = 20
"""Number of rows by which the delimiter is chosen."""
ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins with that of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by the byte-order mark that a file begins with."""


def parse(path: Path) -> tuple[list[str], dict[int, list[str]]]:
    """Read the header of the csv file `path`, and the cells of each row by the line on which the row begins.

    The encoding is UTF-8, or that of the byte-order mark. The delimiter is that of a first line `sep=;` or, of comma,
    semicolon, tab and bar, the one that divides the first rows alike and into most cells. Any line end is accepted.
    White space after a delimiter and around names, empty rows, and empty cells beyond the header are left out.

    Raises:
        WhaleidError: the file is of another encoding, not csv, has no rows, or a title above its header.
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
        raise WhaleidError(f"{path}, line {line}: cannot be read as csv: {error}. Check the quotes in it.") from None
    if not rows:
        raise WhaleidError(f"{path}: is empty. Write the names of the columns into its first line.")
    top = next(iter(rows))
    names = [name.strip() for name in rows.pop(top)]
    if rows and _is_title(names) and not _is_title(next(iter(rows.values()))):
        raise WhaleidError(f"{path}, line {top}: {names[0]!r} is a title: remove the lines above the header.")
    return names, {line: _trimmed(cells, len(names)) for line, cells in rows.items()}


def _decode(path: Path) -> str:
    content = path.read_bytes()
    encoding = next((name for mark, name in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise WhaleidError(
            f"{path}, line {line}: is not UTF-8 text. Save the file as csv in UTF-8 (in Excel: CSV UTF-8)."
        ) from None


def _delimiter(text: str) -> str:
    """Return the delimiter of `text`: of those that divide all of its first rows alike, the one of most cells."""

    def cells(delimiter: str) -> tuple[bool, int]:
        rows = islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), LOOKED_AT)
        counts = [len(row) for row in rows if "".join(row).strip(BLANK)]
        return len({*counts}) == 1 and counts[0] > 1, counts[0] if counts else 0

    return max(DELIMITERS, key=cells)


def _is_title(cells: list[str]) -> bool:
    """Return whether only the first of `cells` has a text."""
    return bool(cells[0].strip()) and not any(map(str.strip, cells[1:]))


def _trimmed(cells: list[str], count: int) -> list[str]:
    """Return `cells` without empty ones beyond the first `count`."""
    return cells if any(cells[count:]) else cells[:count]
