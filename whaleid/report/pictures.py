"""Plots on a page, each with the table behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from whaleid.report.document import data


@dataclass(frozen=True)
class Picture:
    """A plot and the table behind it."""

    title: str
    says: str
    png: bytes
    table: pd.DataFrame


def pictures(heading: str, shown: Sequence[Picture]) -> str:
    """Return `shown` below a heading, as HTML; nothing where there are none."""
    if not shown:
        return ""
    figures = [
        f'<figure><img alt="{escape(picture.title)}" src="{data("png", picture.png)}">'
        f"<figcaption>{escape(picture.says)}</figcaption>"
        f"<details><summary>table</summary><div>{_table(picture.table)}</div></details></figure>"
        for picture in shown
    ]
    return f'<h2>{escape(heading)}</h2>\n<div class="pictures">\n{"".join(figures)}\n</div>'


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in table)
    rows = table.itertuples(index=False, name=None)
    cells = ("".join(f'<td class="n">{_cell(value)}</td>' for value in row) for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in cells)}</tbody></table>"


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
