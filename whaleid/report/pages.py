"""HTML pages that need no other file: style, script and photos are in them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.report.sheets import Sheet

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Plot:
    """A plot and its table."""

    title: str
    caption: str
    png: bytes
    table: pd.DataFrame


def render(template: str, title: str, photos: Mapping[str, bytes], **values: object) -> str:
    """Return the page that a file of `templates/` makes of `values`, whose texts are escaped.

    `photos` are JPEG files by name. The page holds each once, as the CSS class `p` and its number among sorted names.
    """
    numbers = {name: number for number, name in enumerate(sorted(photos))}
    return _templates().get_template(template).render(title=title, photos=photos, numbers=numbers, **values)


def render_sheets(
    title: str,
    lead: Sequence[str],
    sheets: Sequence[Sheet],
    photos: Mapping[str, bytes],
    counts: Mapping[str, str] | None = None,
    plots: Sequence[Plot] = (),
) -> str:
    """Return a page of contact sheets, below paragraphs (`lead`), numbers (`counts`, by their names) and plots.

    `photos` has the JPEG file of every photo of `sheets`, by name. A sheet without a title has no heading.
    """
    return render("sheets.html", title, photos, lead=lead, sheets=sheets, counts=counts, plots=plots)


@cache
def _templates() -> Environment:
    # `identify` starts without it
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(
        loader=PackageLoader("whaleid.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    templates.filters["address"] = lambda file, kind: f"data:image/{kind};base64,{b64encode(file).decode('ascii')}"
    templates.filters["table"] = lambda table: Markup(
        table.to_html(index=False, border=0, float_format="{:.4g}".format)
    )
    return templates
