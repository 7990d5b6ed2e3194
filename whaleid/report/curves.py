"""A report's pictures: the tables of `whaleid.report.tables` in, a matplotlib `Figure` out."""

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from whaleid.report.colours import BLUE, GREY, ORANGE
from whaleid.report.plots import THOUSANDS, style

INK = "#1b1b1b"
SIZE = (5.6, 3.7)
KINDS = {"map5_known": ("known", BLUE, "-."), "map5_unknown": ("unknown", ORANGE, "--"), "map5": ("overall", INK, "-")}
"""How the columns of a threshold curve are named, coloured and drawn: told apart without colour, too."""
GROUPS = {
    "known_right": ("known, best whale right", BLUE),
    "known_wrong": ("known, best whale wrong", ORANGE),
    "unknown": ("unknown", GREY),
}


def threshold(table: pd.DataFrame, auto: float, chosen: float) -> Figure:
    """Plot MAP@5 by threshold, `threshold,map5,map5_known,map5_unknown`; mark the one found and the one chosen.

    A column of a kind without queries may be missing.
    """
    figure, axes = _axes("MAP@5 by threshold", "threshold", "MAP@5")
    for column, (name, colour, line) in KINDS.items():
        if column in table:
            width = 2.4 if column == "map5" else 1.8
            axes.plot(table["threshold"], table[column], color=colour, linestyle=line, linewidth=width, label=name)
    best = float(np.interp(auto, table["threshold"], table["map5"]))
    axes.axvline(auto, color=INK, linewidth=1, linestyle=":")
    # no figure: it was found on this very curve
    axes.plot(auto, best, "o", color=INK, markersize=7, label=f"auto {auto:g}")
    if chosen != auto:
        there = float(np.interp(chosen, table["threshold"], table["map5"]))
        axes.axvline(chosen, color=ORANGE, linewidth=1, linestyle=":")
        label = f"chosen {chosen:g}: {there:.3f}"
        axes.plot(chosen, there, "D", color=ORANGE, markeredgecolor="white", markersize=8, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    _legend(axes)
    return figure


def unknown_share(table: pd.DataFrame, declared: float) -> Figure:
    """Plot MAP@5 by the share of unknown queries, `unknown_share,map5,all_new_whale`; mark the share declared."""
    figure, axes = _axes("MAP@5 by share of unknown queries", "share of queries of no known whale", "MAP@5")
    x = table["unknown_share"]
    axes.plot(x, table["map5"], color=INK, linewidth=2.4, label="this variant")
    axes.plot(x, table["all_new_whale"], color=ORANGE, linestyle="--", linewidth=1.8, label="new_whale to everything")
    there = float(np.interp(declared, x, table["map5"]))
    axes.axvline(declared, color=INK, linewidth=1, linestyle=":")
    axes.plot(declared, there, "o", color=INK, markersize=7, label=f"declared {declared:g}: {there:.3f}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    _legend(axes)
    return figure


def reliability(table: pd.DataFrame) -> Figure:
    """Plot how often the best whale is right by its probability, before and after calibration, and the queries.

    `table` is `calibrated,least,most,queries,said,right`.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    style(axes, "Said and true: the best whale's probability", "", "share that is right")
    style(counts, "", "probability of the best whale", "queries")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="as said")
    looks = (("before calibration", ORANGE, "--", "s", -1), ("after", BLUE, "-", "o", 0))
    for calibrated, (name, colour, line, marker, side) in enumerate(looks):
        rows = table[table["calibrated"] == calibrated]
        axes.plot(rows["said"], rows["right"], color=colour, linestyle=line, marker=marker, markersize=5, label=name)
        width = (rows["most"] - rows["least"]) * 0.45
        middle = (rows["least"] + rows["most"]) / 2
        counts.bar(middle + side * width, rows["queries"], width, align="edge", color=colour)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    _integers(counts)
    _legend(axes, "upper left")
    return figure


def scores(table: pd.DataFrame, chosen: float) -> Figure:
    """Plot how many queries have which probability of the best whale, known and unknown apart; mark the threshold.

    `table` is `least,most,known_right,known_wrong,unknown`.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    panels = figure.subplots(len(GROUPS), 1, sharex=True)
    edges = [*table["least"], table["most"].iloc[-1]]
    for axes, (column, (name, colour)) in zip(panels, GROUPS.items(), strict=True):
        style(axes, "", "", "queries")
        axes.stairs(table[column], edges, fill=True, color=colour)
        said = f"{name}: {table[column].sum():,}"
        axes.set_title(said, loc="right", fontsize=9, color=colour, pad=3)
        axes.axvline(chosen, color=INK, linewidth=1, linestyle=":")
        axes.set_ylim(0, max(1, 1.08 * table[column].max()))
        _integers(axes)
    panels[0].set_title("Probability of the best whale", loc="left", fontsize=11)
    panels[-1].set(xlim=(0, 1), xlabel=f"probability of the best whale (dotted: the threshold, {chosen:g})")
    return figure


def ranks(table: pd.DataFrame) -> Figure:
    """Plot where the truth of known whales is ranked, with `new_whale` and without: `rank,queries,whales_alone`."""
    figure, axes = _axes("Rank of the truth, known whales", "rank", "queries")
    places = np.arange(len(table))
    total = max(1, int(table["queries"].sum()))
    shown = (("queries", "as answered", BLUE, -0.2), ("whales_alone", "without new_whale", GREY, 0.2))
    for column, name, colour, side in shown:
        bars = axes.bar(places + side, table[column], 0.38, color=colour, label=name)
        shares = [f"{100 * number / total:.0f}%" for number in table[column]]
        axes.bar_label(bars, shares, padding=2, color=colour, fontsize=8)
    axes.set_xticks(places, [str(rank) if rank else "beyond" for rank in table["rank"]])
    axes.grid(False, axis="x")
    axes.set_ylim(0, 1.12 * max(1, table[["queries", "whales_alone"]].to_numpy().max()))
    _integers(axes)
    _legend(axes, "upper center")
    return figure


def photos(table: pd.DataFrame) -> Figure:
    """Plot MAP@5 of known whales by their number of photos to compare with: `least,most,queries,map5`."""
    figure, axes = _axes("MAP@5 by photos of the whale", "photos of the whale to compare with", "MAP@5")
    places = np.arange(len(table))
    bars = axes.bar(places, table["map5"], 0.7, color=BLUE)
    axes.bar_label(bars, [f"{value:.2f}" for value in table["map5"]], padding=2, color=BLUE)
    names = [span(least, most) for least, most in zip(table["least"], table["most"], strict=True)]
    numbers = [f"{name}\n{queries:,}" for name, queries in zip(names, table["queries"], strict=True)]
    axes.set_xticks(places, numbers)
    axes.set_xlabel("photos of the whale to compare with; below, queries")
    axes.grid(False, axis="x")
    axes.set_ylim(0, 1.1)
    return figure


def span(least: int, most: int) -> str:
    """Return how a class of whole numbers is named."""
    return str(least) if least == most else f"{least}–{most}"  # noqa: RUF001


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    style(axes, title, x, y)
    return figure, axes


def _integers(axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(THOUSANDS)


def _legend(axes: Axes, place: Literal["best", "upper left", "upper center"] = "best") -> None:
    axes.legend(fontsize=8, loc=place, framealpha=0.85, edgecolor="none")
