"""Plots for pages, DVC and MLflow, in one style: each function draws a table as a matplotlib `Figure`.

Figures are created without pyplot, which keeps a reference to every figure.
"""

import io

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import ArrayLike

BLUE, ORANGE, GREY, INK = "#0072b2", "#d55e00", "#5a5a5a", "#1b1b1b"
"""Colours that colour-blind readers can distinguish (M. Okabe and K. Ito, Color Universal Design, 2008)."""
PARTS = {"train": ("labelled", BLUE), "test": ("to identify", ORANGE)}
"""Name and colour of each part of a catalogue."""
CURVES = {"map5_known": ("known", BLUE, "-."), "map5_unknown": ("unknown", ORANGE, "--"), "map5": ("overall", INK, "-")}
"""Name, colour and line style of each column of a threshold curve."""
MAX_BARS = 8
"""Maximum number of distinct sizes to draw as bars; more are drawn as points."""
THOUSANDS = StrMethodFormatter("{x:,.0f}")


def photos_per_whale(photos: ArrayLike) -> Figure:
    """Plot the number of photos of each whale in descending order, and the number of whales by their photos.

    `photos` (N,) is the number of photos of each whale, at least 1, in any order.
    """
    counts = np.sort(np.asarray(photos))[::-1]
    numbers, whales = np.unique(counts, return_counts=True)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    by_rank, by_number = figure.subplots(1, 2)

    _style(by_rank, "Photos of each whale", "whale, by rank", "photos (log scale)")
    by_rank.stairs(counts, np.arange(len(counts) + 1) + 0.5, baseline=None, color=BLUE, linewidth=2)
    by_rank.xaxis.set_major_formatter(THOUSANDS)
    _log_scale(by_rank, counts.max())

    single = int((counts == 1).sum())
    _style(by_number, "Whales by number of photos", "photos", "whales (log scale)")
    by_number.bar(numbers, whales, color=[ORANGE if number == 1 else BLUE for number in numbers])
    by_number.set_xlim(0, counts.max() + 1)
    _log_scale(by_number, whales.max())
    note = f"{single:,} of {len(counts):,} whales ({single / len(counts):.0%}) have a single photo"
    by_number.text(0.98, 0.97, note, transform=by_number.transAxes, color=ORANGE, ha="right", va="top")
    return figure


def sizes(table: pd.DataFrame) -> Figure:
    """Plot the sizes of photos as bars, or as points if there are more than `MAX_BARS` sizes.

    The area of a point grows with the number of photos of that size.

    Args:
        table: columns `part,width,height,photos`; width and height in pixels, `photos` the number of photos.
    """
    if len(table[["width", "height"]].drop_duplicates()) <= MAX_BARS:
        names = table["width"].astype(str) + " x " + table["height"].astype(str)
        return _bars(table.assign(name=names), "Width x height (pixels)")
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, len(PARTS), sharex=True, sharey=True)
    for axes, (part, (name, colour)) in zip(panels, PARTS.items(), strict=True):
        rows = table[table["part"] == part]
        title = f"{name}: {rows['photos'].sum():,} photos (area of a point: photos of that size)"
        _style(axes, title, "width (pixels)", "height (pixels)")
        area = 10 + 500 * rows["photos"] / table["photos"].max()
        axes.scatter(rows["width"], rows["height"], s=area, color=colour, alpha=0.3, linewidth=0)
    panels[0].set(xlim=(0, 1.08 * table["width"].max()), ylim=(0, 1.08 * table["height"].max()))
    return figure


def modes(table: pd.DataFrame) -> Figure:
    """Plot the number of photos by colour mode.

    `table` has the columns `part,mode,photos`; `mode` is the mode of PIL, `photos` the number of photos.
    """
    names = {"L": "L (grey)", "RGB": "RGB (colour)"}
    return _bars(table.assign(name=table["mode"].replace(names)), "Mode")


def threshold_curve(table: pd.DataFrame, prediction: str, auto: float, threshold: float) -> Figure:
    """Plot MAP@5 of `prediction` on validation by threshold, and mark `auto` and the chosen `threshold`.

    `table` has the columns `threshold,map5,map5_known,map5_unknown`. The last two may be missing, if there are no
    queries of that kind.
    """
    figure = Figure(figsize=(5.6, 3.7), layout="constrained")
    axes = figure.subplots()
    _style(axes, f"{prediction}: MAP@5 on validation by threshold", "threshold", "MAP@5")
    for column, (name, colour, line) in CURVES.items():
        if column in table:
            width = 2.4 if column == "map5" else 1.8
            axes.plot(table["threshold"], table[column], color=colour, linestyle=line, linewidth=width, label=name)
    # auto was fitted on this curve, so its MAP@5 here is optimistic: the legend omits it
    map5_auto, map5 = np.interp([auto, threshold], table["threshold"], table["map5"])
    axes.axvline(auto, color=INK, linewidth=1, linestyle=":")
    axes.plot(auto, map5_auto, "o", color=INK, markersize=7, label=f"auto {auto:g}")
    if threshold != auto:
        axes.axvline(threshold, color=ORANGE, linewidth=1, linestyle=":")
        label = f"chosen {threshold:g}: {map5:.3f}"
        axes.plot(threshold, map5, "D", color=ORANGE, markeredgecolor="white", markersize=8, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(fontsize=8, loc="best", framealpha=0.85, edgecolor="none")
    return figure


def png(figure: Figure) -> bytes:
    """Render `figure` as a PNG file. The same figure gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, dpi=100, metadata={"Software": None})  # by default the version of matplotlib
    return file.getvalue()


def _bars(table: pd.DataFrame, title: str) -> Figure:
    """Plot a table `part,name,photos` as horizontal bars, most photos first, labelled with their share of the part."""
    counts = table.pivot_table(index="name", columns="part", values="photos", aggfunc="sum", fill_value=0)
    counts = counts.loc[counts.sum(axis=1).sort_values(kind="stable").index]
    figure = Figure(figsize=(8, 1.4 + 0.7 * len(counts)), layout="constrained")
    axes = figure.subplots()
    _style(axes, title, "photos", "")
    for offset, (part, (name, colour)) in zip((0.2, -0.2), PARTS.items(), strict=True):
        if part not in counts:
            continue
        photos = counts[part].to_numpy()
        label = f"{name} ({photos.sum():,})"
        bars = axes.barh(np.arange(len(counts)) + offset, photos, height=0.38, color=colour, label=label)
        axes.bar_label(bars, [f"{n:,} ({n / photos.sum():.1%})" for n in photos], padding=4, color=GREY)
    axes.set_yticks(np.arange(len(counts)), counts.index)
    axes.set_xlim(0, 1.25 * counts.to_numpy().max())
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.grid(False, axis="y")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=len(PARTS))
    return figure


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set(xlabel=x, ylabel=y, axisbelow=True)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=GREY, labelcolor=GREY)


def _log_scale(axes: Axes, highest: int) -> None:
    """Set integer ticks on x, and on y a log scale for counts from 1 to `highest`, with space above."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(yscale="log", ylim=(0.8, max(highest, 2) ** 1.15))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(THOUSANDS)
