"""Contact sheets: what stands on them. `templates/macros.html` has how they look."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Cell:
    """A photo with text below."""

    photo: str
    """Name of the photo; empty for none."""
    text: str
    bold: str | None = None
    """A line above the text; None for no such line."""
    title: str = ""
    """Tooltip of the text."""
    none: str = "no photo"
    """Text in place of a photo."""
    kind: Literal["", "query", "same", "query same"] = ""
    """`same` marks the same picture as the query."""


@dataclass(frozen=True)
class Strip:
    """Cells in a row."""

    cells: Sequence[Cell]
    caption: str = ""
    data: Mapping[str, object] | None = None
    """What a script of the page needs."""


@dataclass(frozen=True)
class Sheet:
    """Strips that have something in common."""

    title: str
    caption: str
    strips: Sequence[Strip]
    folded: bool = False
    """Whether only the title shows at first."""
    layout: Literal["album", "ranked", "large"] = "album"
    """`album`: strips of any length; `ranked`: a query and five labels; `large`: the same, across the page."""


def photos(sheets: Iterable[Sheet]) -> list[str]:
    """Return the name of each photo on `sheets`, once, sorted."""
    return sorted({cell.photo for sheet in sheets for strip in sheet.strips for cell in strip.cells if cell.photo})
