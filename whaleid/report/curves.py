"""The picture of a threshold curve: a table in, a matplotlib `Figure` out."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from whaleid.report.colours import BLUE, ORANGE
from whaleid.report.plots import style

INK = "#1b1b1b"
SIZE = (5.6, 3.7)
KINDS = {"map5_known": ("known", BLUE, "-."), "map5_unknown": ("unknown", ORANGE, "--"), "map5": ("overall", INK, "-")}
"""How the columns of a threshold curve are named, coloured and drawn: told apart without colour, too."""


def threshold(table: pd.DataFrame, prediction: str, auto: float, chosen: float) -> Figure:
    """Plot MAP@5 of `prediction` on validation by threshold; mark the threshold found and the one chosen.

    `table` is `threshold,map5,map5_known,map5_unknown`. A column of a kind without queries may be missing.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    style(axes, f"{prediction}: MAP@5 on validation by threshold", "threshold", "MAP@5")
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
    axes.legend(fontsize=8, loc="best", framealpha=0.85, edgecolor="none")
    return figure
