"""One page that needs nothing else: figures, pictures and contact sheets, in plain HTML and CSS.

Labels and file names come from outside: all text goes through `escape`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from whaleid.core.labels import NEW_WHALE
from whaleid.report.choice import Candidate, Shown
from whaleid.report.document import document, numbers, photo
from whaleid.report.names import BASELINES, NAMES, TILES
from whaleid.report.pictures import Picture, pictures


@dataclass(frozen=True)
class Sheet:
    """Queries beside what they were answered with."""

    title: str
    says: str
    rows: Sequence[tuple[Shown, Sequence[str]]]
    """Each query and, for each of its candidates, the Image of a photo, or an empty string for none."""
    folded: bool = False
    """Whether only the title shows at first."""


def render(
    title: str,
    lead: Sequence[str],
    figures: Mapping[str, float],
    plots: Sequence[Picture],
    sheets: Sequence[Sheet],
    photos: Mapping[str, bytes],
) -> str:
    """Return the page.

    Args:
        title: its heading.
        lead: paragraphs below the heading.
        figures: by the keys of `paths.metrics`; an interval's ends are at `KEY_low` and `KEY_high`.
        plots: in their order.
        sheets: in their order.
        photos: the JPEG file of every Image that `sheets` show; each is embedded once.
    """
    number = numbers(photos)
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(paragraph)}</p>" for paragraph in lead),
        _tiles(figures),
        _baselines(figures),
        pictures("Curves", plots),
        _sheets(sheets, number),
        _figures(figures),
    ]
    return document(title, "\n".join(part for part in parts if part), photos)


def _tiles(figures: Mapping[str, float]) -> str:
    tiles = [
        f'<div class="tile"><span>{escape(name)}</span><b>{_number(key, figures[key])}</b>'
        f"<small>{_interval(key, figures) or '&nbsp;'}</small></div>"
        for key, name in TILES.items()
        if key in figures
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _baselines(figures: Mapping[str, float]) -> str:
    """Return bars of MAP@5: this variant's above those of the baselines."""
    if "map5" not in figures:
        return ""
    named = {"map5": "this variant", "solution_map5": "by the solution"} | BASELINES
    shown = {key: name for key, name in named.items() if key in figures}
    rows = []
    for key, name in shown.items():
        kind = "" if key in BASELINES else ' class="me"'
        bar = f'<i{kind} style="width:{100 * figures[key]:.2f}%"></i>'
        if f"{key}_low" in figures:
            low, high = 100 * figures[f"{key}_low"], 100 * figures[f"{key}_high"]
            bar += f'<i class="at" style="left:{low:.2f}%;width:{max(0.0, high - low):.2f}%"></i>'
        label = f"<b>{escape(name)}</b>" if key == "map5" else escape(name)
        rows.append(
            f'<tr><td>{label}</td><td class="b"><div class="track">{bar}</div></td>'
            f'<td class="n">{figures[key]:.3f}</td><td class="n">{_interval(key, figures)}</td></tr>'
        )
    return (
        f'<h2>MAP@5 beside the baselines</h2>\n<table class="bars">{"".join(rows)}</table>\n'
        "<p>Brackets are 95 % intervals: whales, not photos, were drawn anew.</p>"
    )


def _figures(figures: Mapping[str, float]) -> str:
    """Return every figure with its interval and what it means; those without a name at the end."""
    named = {key for group in NAMES.values() for key in group}
    ends = {f"{key}_{end}" for key in figures for end in ("low", "high")}
    rest = {key: (key, "") for key in figures if key not in named | ends | BASELINES.keys()}
    groups = [
        *NAMES.items(),
        ("Baselines, MAP@5", {key: (name, "") for key, name in BASELINES.items()}),
        ("More", rest),
    ]
    rows = []
    for heading, group in groups:
        held = {key: said for key, said in group.items() if key in figures}
        if held:
            rows.append(f'<tr class="h"><th colspan="4">{escape(heading)}</th></tr>')
        rows += [
            f'<tr><td>{escape(name)}</td><td class="n">{_number(key, figures[key])}</td>'
            f'<td class="n">{_interval(key, figures)}</td><td class="m">{escape(meaning)}</td></tr>'
            for key, (name, meaning) in held.items()
        ]
    return f"<h2>All figures</h2>\n<table>{''.join(rows)}</table>" if rows else ""


def _sheets(sheets: Sequence[Sheet], number: Mapping[str, int]) -> str:
    if not sheets:
        return ""
    shown = []
    for sheet in sheets:
        rows = "\n".join(_strip(query, nearest, number) for query, nearest in sheet.rows)
        says = f"<p>{escape(sheet.says)}</p>" if sheet.says else ""
        title = escape(sheet.title)
        body = f'<div class="sheet">\n{rows}\n</div>' if rows else "<p>None.</p>"
        if sheet.folded:
            shown.append(f"<h3>{title}</h3>\n{says}<details><summary>Show all</summary>{body}</details>")
        else:
            shown.append(f"<h3>{title}</h3>\n{says}{body}")
    key = (
        '<p class="key"><b class="ok">✓</b>the truth <b class="no">✗</b>wrong; pale where it comes after the truth. '
        "On the left the query and, where it is known, its truth and the place of that; beside it five answers, each "
        "with its probability and that whale's labelled photo most like the query. new_whale is at the threshold.</p>"
    )
    return "\n".join(["<h2>Contact sheets</h2>", key, *shown])


def _strip(query: Shown, nearest: Sequence[str], number: Mapping[str, int]) -> str:
    """Return a query beside its candidates."""
    rank, held_out = query.rank, query.whale not in ("", query.truth)
    said = _span(query.truth, f"{query.whale}, held out" if held_out else query.truth)
    if not query.truth:
        verdict, said = "<b>query</b>", _span(query.image, query.image)
    elif rank == 1:
        verdict = '<b class="ok">✓ rank 1</b>'
    else:
        verdict = f"<b>rank {rank}</b>" if rank else '<b class="no">✗ not named</b>'
    cells = [f'<div class="c q">{photo(query.image, number)}{verdict}{said}</div>']
    for place, (candidate, image) in enumerate(zip(query.candidates, nearest, strict=True), 1):
        after = rank != 0 and place > rank
        cells.append(_candidate(candidate, image, after, number))
    return f'<div class="r">{"".join(cells)}</div>'


def _candidate(candidate: Candidate, image: str, after: bool, number: Mapping[str, int]) -> str:
    """Return a candidate's cell; `after`: the truth comes before it."""
    kind, sign = {None: ("", ""), True: (" ok", "✓ "), False: (" off" if after else " no", "✗ ")}[candidate.right]
    shown = "–" if candidate.probability is None else f"{candidate.probability:.3f}"  # noqa: RUF001
    if candidate.label == NEW_WHALE:
        picture = '<i class="t x">new</i>'
    else:
        picture = photo(image, number) if image else '<i class="t x">no photo</i>'
    return f'<div class="c{kind}">{picture}<b>{sign}{shown}</b>{_span(candidate.label, candidate.label)}</div>'


def _span(text: str, more: str) -> str:
    return f'<span title="{escape(more)}">{escape(text) or "&nbsp;"}</span>'


def _interval(key: str, figures: Mapping[str, float]) -> str:
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    return f"{_number(key, low)} to {_number(key, high)}" if low is not None and high is not None else ""


def _number(key: str, value: float) -> str:
    if key.startswith("threshold"):
        return f"{value:.4g}"
    return f"{value:.3f}"


def images(sheets: Iterable[Sheet]) -> set[str]:
    """Return the Image of every photo that `sheets` show."""
    return {image for sheet in sheets for query, nearest in sheet.rows for image in (query.image, *nearest) if image}
