"""The page of `identify`: each photo beside its names, each with that whale's photo most like it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from whaleid.core.labels import NEW_WHALE
from whaleid.report.document import document, numbers, photo


@dataclass(frozen=True)
class Cell:
    """A photo, or none, with what is written below it."""

    picture: str
    """The name of a photo; empty for none."""
    title: str
    says: str
    same: bool = False
    """Whether it is the same picture as the query."""


@dataclass(frozen=True)
class Row:
    """A query and what it was answered with."""

    query: Cell
    candidates: Sequence[Cell]


def render(title: str, lead: Sequence[str], rows: Sequence[Row], photos: Mapping[str, bytes]) -> str:
    """Return the page; `photos` has the JPEG file of every picture that `rows` show, by name."""
    number = numbers(photos)
    body = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(paragraph)}</p>" for paragraph in lead)]
    for row in rows:
        cells = "".join(_cell(cell, number) for cell in row.candidates)
        body.append(f'<div class="answer"><div class="asked">{_cell(row.query, number)}</div>{cells}</div>')
    return document(title, "\n".join(body), photos)


def _cell(cell: Cell, number: Mapping[str, int]) -> str:
    if cell.picture:
        shown = photo(cell.picture, number)
    else:
        shown = f'<i class="t x">{"new" if cell.title.startswith(NEW_WHALE) else "no photo"}</i>'
    kind = "w same" if cell.same else "w"
    return (
        f'<div class="{kind}">{shown}<b title="{escape(cell.title)}">{escape(cell.title)}</b>'
        f'<span title="{escape(cell.says)}">{escape(cell.says) or "&nbsp;"}</span></div>'
    )
