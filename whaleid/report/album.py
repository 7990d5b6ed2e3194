"""A page of photos beside each other: what a catalogue holds, and which photos are duplicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from whaleid.report.document import document, numbers, photo
from whaleid.report.pictures import Picture, pictures


@dataclass(frozen=True)
class Strip:
    """Photos beside each other."""

    photos: Mapping[str, str]
    """What is written below each, by its name."""
    says: str


@dataclass(frozen=True)
class Sheet:
    """Strips that have something in common."""

    title: str
    says: str
    strips: Sequence[Strip]
    folded: bool = False
    """Whether only the title shows at first."""


def render(
    title: str,
    lead: Sequence[str],
    counts: Mapping[str, str],
    sheets: Sequence[Sheet],
    photos: Mapping[str, bytes],
    plots: Sequence[Picture] = (),
) -> str:
    """Return the page.

    Args:
        title: its heading.
        lead: paragraphs below the heading.
        counts: figures as they are written, by name.
        sheets: in their order.
        photos: the JPEG file of every photo that `sheets` show, by name.
        plots: shown before the sheets, in their order.
    """
    number = numbers(photos)
    tiles = "".join(
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(count)}</b></div>' for name, count in counts.items()
    )
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(paragraph)}</p>" for paragraph in lead)]
    parts += [f'<div class="tiles">{tiles}</div>', pictures("Distribution", plots)]
    for sheet in sheets:
        shown = "\n".join(_strip(strip, number) for strip in sheet.strips)
        body = f'<div class="strips">\n{shown}\n</div>' if shown else "<p>None.</p>"
        if sheet.folded and shown:
            body = f"<details><summary>Show all</summary>{body}</details>"
        parts.append(f"<h2>{escape(sheet.title)}</h2>\n<p>{escape(sheet.says)}</p>\n{body}")
    return document(title, "\n".join(part for part in parts if part), photos)


def _strip(strip: Strip, number: Mapping[str, int]) -> str:
    cells = [
        f'<div class="c">{photo(name, number)}<span title="{escape(name)}">{escape(below)}</span></div>'
        for name, below in strip.photos.items()
    ]
    return f'<div class="strip"><div class="r">{"".join(cells)}</div><p>{escape(strip.says)}</p></div>'
