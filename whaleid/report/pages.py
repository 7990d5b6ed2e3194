"""Self-contained HTML pages: styles, scripts and photos are embedded."""

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
    """A plot and the table of its values."""

    title: str
    caption: str
    png: bytes
    table: pd.DataFrame


def render(template: str, title: str, photos: Mapping[str, bytes], **values: object) -> str:
    """Render `template`, a file of `templates/`, with `values` as HTML. Texts are escaped.

    `photos` maps names to JPEG files. The page embeds each photo once, as the CSS class `p` followed by the index of
    its name in sorted order.
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
    """Render a page as HTML: the paragraphs `lead`, formatted numbers by name (`counts`), plots and contact sheets.

    `photos` maps the name of every photo of `sheets` to its JPEG file. A sheet without a title has no heading.
    """
    return render("sheets.html", title, photos, lead=lead, sheets=sheets, counts=counts, plots=plots)


@cache
def _templates() -> Environment:
    # imported here, so that `identify` starts without jinja2
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
