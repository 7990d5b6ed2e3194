"""Csv files of any spreadsheet give the same table; what is no table is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from whaleid.catalog.dialect import parse
from whaleid.catalog.table import read_table
from whaleid.core.errors import WhaleidError

ROWS = {2: ["a.jpg", "José"], 3: ["b, c.jpg", "007"]}
PLAIN = 'photo,whale\n"a.jpg",José\n"b, c.jpg",007\n'


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-32"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        b"\xef\xbb\xbf" + PLAIN.encode("utf-8-sig"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.rstrip("\n").encode(),
        PLAIN.replace(",", ", ").replace("b,  c", "b, c").encode(),
        PLAIN.replace("photo,whale", " photo , whale ").encode(),
        PLAIN.replace('",', '";').replace("o,w", "o;w").encode(),
        PLAIN.replace('",', '"\t').replace("o,w", "o\tw").encode(),
        PLAIN.replace('",', '"|').replace("o,w", "o|w").encode(),
        PLAIN.replace("\n", ",,\n").replace("photo,whale,,", "photo,whale").encode(),
    ],
    ids=[
        "utf8",
        "bom",
        "utf16",
        "utf16be",
        "utf32",
        "utf16le-nomark",
        "utf16be-nomark",
        "bombom",
        "crlf",
        "cr",
        "noend",
        "blank",
        "names",
        ";",
        "tab",
        "bar",
        "more",
    ],
)
def test_all_spreadsheets_give_the_same_table(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert parse(tmp_path / "t.csv") == (["photo", "whale"], ROWS)


def test_the_delimiter_may_be_named(tmp_path: Path) -> None:
    for first in ("sep=;", "sep=;;", '"sep=;"'):
        (tmp_path / "t.csv").write_text(f"{first}\nphoto;whale,name\na.jpg;Ann\n")
        assert parse(tmp_path / "t.csv") == (["photo", "whale,name"], {3: ["a.jpg", "Ann"]})


def test_the_delimiter_is_that_of_most_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("photo;bbox\na.jpg;0,1,2,3\nb.jpg;0,1,2,3\nc.jpg;;\n")
    assert parse(tmp_path / "t.csv")[1] == {2: ["a.jpg", "0,1,2,3"], 3: ["b.jpg", "0,1,2,3"], 4: ["c.jpg", ""]}


def test_last_columns_without_a_name_may_be_shorter_or_filled(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("photo,whale,,\na.jpg,Ann\nb.jpg,Bob,note,\n")
    assert parse(tmp_path / "t.csv")[1] == {2: ["a.jpg", "Ann", "", ""], 3: ["b.jpg", "Bob", "note", ""]}
    with pytest.raises(WhaleidError, match=r"line 2: 1 cells instead of 2\n.*complete rows that end too early"):
        (tmp_path / "t.csv").write_text("photo,whale\na.jpg\n")
        read_table(tmp_path / "t.csv", ["photo", "whale"])


def test_empty_rows_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n ,\nphoto,whale\n\na.jpg,Ann\n,\n , \nb.jpg,\n")
    assert parse(tmp_path / "t.csv") == (["photo", "whale"], {5: ["a.jpg", "Ann"], 8: ["b.jpg", ""]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv is empty"),
        (b",,\n\n", "t.csv is empty"),
        (
            b"Whales of 2019,\n\nphoto,whale\na.jpg,Ann\n",
            "t.csv, line 1: 'Whales of 2019' is a title: remove the lines",
        ),
        (b"Whales of 2019\nphoto;whale\na.jpg;Ann\n", "t.csv, line 1: 'Whales of 2019' is a title"),
        (b"\nWhales, 2019\nphoto;whale\na.jpg;Ann\n", "t.csv, line 2: 'Whales, 2019' is a title"),
        (b'photo,whale\na.jpg,"' + b"x" * 200_000, "t.csv, line 2 cannot be read as csv: field larger than"),
        (
            "photo,whale\na.jpg,José\n".encode("latin-1"),
            "t.csv, line 2 is not UTF-8 text. Save the file as csv in UTF-8",
        ),
        (b'photo,whale\na.jpg,"Ann\n', "t.csv, line 2 cannot be read as csv"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(WhaleidError) as caught:
        parse(tmp_path / "t.csv")
    assert message in str(caught.value)


CELL = some.text(some.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8)


@given(
    rows=some.lists(some.tuples(CELL, CELL), max_size=8),
    delimiter=some.sampled_from(",;\t|"),
    end=some.sampled_from(["\n", "\r\n", "\r"]),
    encoding=some.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_every_row_that_comes_in_is_read_or_empty(tmp_path_factory, rows, delimiter, end, encoding) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    quoted = [
        delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [("photo", "whale"), *rows]
    ]
    path.write_bytes((end.join(quoted) + end).encode(encoding))
    filled = [list(row) for row in rows if any(map(str.strip, row))]
    assert read_table(path, ["photo", "whale"]).to_numpy().tolist() == filled
