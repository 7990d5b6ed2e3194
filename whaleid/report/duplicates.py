"""A page on duplicates: what was found, and both sides of the border, for the eye to judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from whaleid.report.document import document, numbers, photo


@dataclass(frozen=True)
class Pair:
    """Two photos beside each other."""

    left: str
    right: str
    says: str


@dataclass(frozen=True)
class Pairs:
    """Pairs that have something in common."""

    title: str
    says: str
    pairs: Sequence[Pair]


def render(
    title: str, lead: Sequence[str], counts: Mapping[str, int], sheets: Sequence[Pairs], photos: Mapping[str, bytes]
) -> str:
    """Return the page.

    Args:
        title: its heading.
        lead: paragraphs below the heading.
        counts: what was counted, by name.
        sheets: in their order.
        photos: the JPEG file of every photo that `sheets` show, by name.
    """
    number = numbers(photos)
    tiles = "".join(
        f'<div class="tile"><span>{escape(name)}</span><b>{count:,}</b></div>' for name, count in counts.items()
    )
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(paragraph)}</p>" for paragraph in lead)]
    parts.append(f'<div class="tiles">{tiles}</div>')
    for sheet in sheets:
        shown = "\n".join(_pair(pair, number) for pair in sheet.pairs)
        body = f'<div class="pairs">\n{shown}\n</div>' if shown else "<p>None.</p>"
        parts.append(f"<h2>{escape(sheet.title)}</h2>\n<p>{escape(sheet.says)}</p>\n{body}")
    return document(title, "\n".join(parts), photos)


def _pair(pair: Pair, number: Mapping[str, int]) -> str:
    cells = [
        f'<div class="c">{photo(name, number)}<span title="{escape(name)}">{escape(name)}</span></div>'
        for name in (pair.left, pair.right)
    ]
    return f'<div class="pair"><div class="r">{"".join(cells)}</div><p>{escape(pair.says)}</p></div>'
