"""Plots of figures already computed: values in, a matplotlib `Figure` out, the same bytes on disk each time.

Figures are made without pyplot: nothing is shared between two of them.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import ArrayLike

from whaleid.core.files import replacing
from whaleid.report.colours import BLUE, GREY, ORANGE

PARTS = {"train": ("labelled", BLUE), "test": ("to identify", ORANGE)}
"""How the parts of a catalogue are named and coloured."""
FEW = 8
"""Up to so many sizes are listed one by one, more are shown as points."""
THOUSANDS = StrMethodFormatter("{x:,.0f}")


def photos_per_whale(photos: ArrayLike) -> Figure:
    """Plot how unevenly photos are spread: the photos of each whale by its rank, and whales by number of photos.

    `photos` holds the number of photos of each whale, at least 1, in any order.
    """
    counts = np.sort(np.asarray(photos))[::-1]
    numbers, whales = np.unique(counts, return_counts=True)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    ranked, spread = figure.subplots(1, 2)

    style(ranked, "Photos of each whale", "whale, by rank", "photos (log scale)")
    ranked.stairs(counts, np.arange(len(counts) + 1) + 0.5, baseline=None, color=BLUE, linewidth=2)
    ranked.xaxis.set_major_locator(MaxNLocator(integer=True))
    ranked.xaxis.set_major_formatter(THOUSANDS)
    _log(ranked, counts.max())

    single = int((counts == 1).sum())
    style(spread, "Whales by number of photos", "photos", "whales (log scale)")
    spread.bar(numbers, whales, color=[ORANGE if number == 1 else BLUE for number in numbers])
    spread.set_xlim(0, counts.max() + 1)
    spread.xaxis.set_major_locator(MaxNLocator(integer=True))
    _log(spread, whales.max())
    note = f"{single:,} of {len(counts):,} whales ({single / len(counts):.0%}) have a single photo"
    spread.text(0.98, 0.97, note, transform=spread.transAxes, color=ORANGE, ha="right", va="top")
    return figure


def sizes(table: pd.DataFrame) -> Figure:
    """Plot the sizes of photos: bars if there are few, else points whose area grows with their photos.

    `table` is `part,width,height,photos`, sizes in pixels.
    """
    if len(table[["width", "height"]].drop_duplicates()) <= FEW:
        names = table["width"].astype(str) + " x " + table["height"].astype(str)
        return _bars(table.assign(name=names), "Width x height (pixels)")
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, len(PARTS), sharex=True, sharey=True)
    for axes, (part, (name, colour)) in zip(panels, PARTS.items(), strict=True):
        rows = table[table["part"] == part]
        title = f"{name}: {rows['photos'].sum():,} photos (area of a point: photos of that size)"
        style(axes, title, "width (pixels)", "height (pixels)")
        area = 10 + 500 * rows["photos"] / table["photos"].max()
        axes.scatter(rows["width"], rows["height"], s=area, color=colour, alpha=0.3, linewidth=0)
    panels[0].set(xlim=(0, 1.08 * table["width"].max()), ylim=(0, 1.08 * table["height"].max()))
    return figure


def modes(table: pd.DataFrame) -> Figure:
    """Plot how many photos are grey and how many in colour; `table` is `part,mode,photos`."""
    said = {"L": "L (grey)", "RGB": "RGB (colour)"}
    return _bars(table.assign(name=table["mode"].replace(said)), "Mode")


def save(figure: Figure, path: Path) -> None:
    """Write `figure` to the PNG file `path`."""
    with replacing(path) as temporary:
        temporary.write_bytes(png(figure))


def png(figure: Figure) -> bytes:
    """Return `figure` as a PNG file."""
    file = io.BytesIO()
    # without matplotlib's version among the bytes
    figure.savefig(file, dpi=100, metadata={"Software": None})
    return file.getvalue()


def _bars(table: pd.DataFrame, title: str) -> Figure:
    """Plot `part,name,photos` as bars, most photos on top, each with its share of the photos of its part."""
    wide = table.pivot_table(index="name", columns="part", values="photos", aggfunc="sum", fill_value=0)
    wide = wide.loc[wide.sum(axis=1).sort_values(kind="stable").index]
    figure = Figure(figsize=(8, 1.4 + 0.7 * len(wide)), layout="constrained")
    axes = figure.subplots()
    style(axes, title, "photos", "")
    for above, (part, (name, colour)) in zip((0.2, -0.2), PARTS.items(), strict=True):
        if part not in wide:
            continue
        photos = wide[part].to_numpy()
        label = f"{name} ({photos.sum():,})"
        bars = axes.barh(np.arange(len(wide)) + above, photos, height=0.38, color=colour, label=label)
        axes.bar_label(bars, [f"{n:,} ({n / photos.sum():.1%})" for n in photos], padding=4, color=GREY)
    axes.set_yticks(np.arange(len(wide)), wide.index)
    axes.set_xlim(0, 1.25 * wide.to_numpy().max())
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.grid(False, axis="y")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=len(PARTS))
    return figure


def style(axes: Axes, title: str, x: str, y: str) -> None:
    """Give `axes` a title, the names of its axes and what all plots have in common."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.set(xlabel=x, ylabel=y, axisbelow=True)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=GREY, labelcolor=GREY)


def _log(axes: Axes, most: int) -> None:
    """Put counts from 1 to `most` on a logarithmic y axis that has plain numbers and a free band on top."""
    axes.set(yscale="log", ylim=(0.8, max(most, 2) ** 1.15))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(THOUSANDS)
