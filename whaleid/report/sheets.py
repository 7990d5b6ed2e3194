"""Contact sheets: their content. `templates/macros.html` defines their layout."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Cell:
    """A photo with text below it."""

    photo: str
    """Name of the photo; empty for a cell without a photo."""
    text: str
    bold: str | None = None
    """A line in bold above the text; None to omit the line."""
    title: str = ""
    """Tooltip of the text."""
    placeholder: str = "no photo"
    """Text in place of a missing photo."""
    kind: Literal["", "query", "same", "query same"] = ""
    """CSS classes: `query` marks the query, `same` a photo that is the same picture as the query."""


@dataclass(frozen=True)
class Strip:
    """A row of cells."""

    cells: Sequence[Cell]
    caption: str = ""
    data: Mapping[str, object] | None = None
    """Values for the script of the page, embedded as JSON."""


@dataclass(frozen=True)
class Sheet:
    """A titled list of strips."""

    title: str
    caption: str
    strips: Sequence[Strip]
    folded: bool = False
    """Whether the strips are hidden until the reader unfolds them."""
    layout: Literal["album", "ranked", "large"] = "album"
    """`album`: strips of any length; `ranked`: a query and up to six labels; `large`: a query and five labels, in
    full width."""


def photos(sheets: Iterable[Sheet]) -> list[str]:
    """Return the sorted, unique names of the photos on `sheets`."""
    return sorted({cell.photo for sheet in sheets for strip in sheet.strips for cell in strip.cells if cell.photo})
