"""Comparing predictions: what each one reaches at its threshold, and at others, from the figures that DVC keeps."""

from __future__ import annotations

import html
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.core.record import Summary

THRESHOLDS = (0.1, 0.2, 0.3, 0.5)
"""Where MAP@5 is shown for every prediction, beside `auto` and each number that a prediction was predicted at."""
MEASURES = {
    "map5": "MAP@5 (95 % interval)",
    "map5_no_duplicates": "no duplicates",
    "map5_known": "known",
    "map5_unknown": "unknown",
    "auroc": "AUROC",
    "ece": "ECE",
    "solution_map5": "solution",
}
"""The figures shown, by what they are called there."""
LESS_IS_BETTER = ("ece",)
NONE = "-"


@dataclass(frozen=True)
class Figures:
    """What the workspace has of a prediction: its figures, and its threshold curve where it has one."""

    metrics: Mapping[str, float]
    curve: pd.DataFrame | None = None


@dataclass(frozen=True)
class Table:
    """A table for people: `rows` of cells below `header`, and which cells are the `best` of their column."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: Sequence[Sequence[bool]]


def read(predictions: Sequence[str]) -> dict[str, Figures]:
    """Return what the workspace has of each of `predictions`, in their order; nothing of those that have no figures.

    Raises:
        WhaleidError: a file holds something else.
    """
    found = {}
    for prediction in predictions:
        path, drawn = paths.figures(prediction), paths.ranking(prediction) / paths.CURVE
        if path.exists() and (metrics := _metrics(path)):
            found[prediction] = Figures(metrics, _curve(drawn) if drawn.exists() else None)
    return found


def compare(found: Mapping[str, Figures]) -> pd.DataFrame:
    """Return a row for each prediction: MEASURES, the interval, thresholds, and MAP@5 without duplicates by them.

    The latter are in columns `at_auto`, `at_0.1`...; NaN is what a prediction does not have. A number that was chosen
    and is among no curve's thresholds has no column.
    """
    columns = [*MEASURES, "map5_low", "map5_high", "threshold", "threshold_auto"]
    frame = pd.DataFrame(
        [[figures.metrics.get(key, np.nan) for key in columns] for figures in found.values()],
        index=pd.Index(found, name="prediction"),
        columns=pd.Index(columns),
        dtype=float,
    )
    # what was found on other photos than it is measured on; the numbers below are one for all of them
    frame["at_auto"] = [figures.metrics.get("map5_auto", np.nan) for figures in found.values()]
    at = {}
    chosen = frame.loc[frame["threshold"] != frame["threshold_auto"], "threshold"].dropna()
    for threshold in sorted({*THRESHOLDS, *chosen}):
        at[f"at_{threshold:g}"] = pd.Series(threshold, frame.index)
    for name, thresholds in at.items():
        reached = [_at(figures.curve, thresholds[prediction]) for prediction, figures in found.items()]
        if name in [f"at_{each:g}" for each in THRESHOLDS] or not np.isnan(reached).all():
            frame[name] = reached
    return frame


def tables(frame: pd.DataFrame) -> list[Table]:
    """Return the comparison as tables: measures at each prediction's threshold, and MAP@5 over thresholds where drawn.

    Best is what looks best: what shows the same digits ties.
    """
    names = [str(prediction) for prediction in frame.index]
    shown = [key for key in MEASURES if frame[key].notna().any()]
    measures = {MEASURES[key]: _numbers(frame[key]) for key in shown}
    best = {MEASURES[key]: _best(frame[key], key in LESS_IS_BETTER) for key in shown}
    overall = MEASURES["map5"]
    if overall in measures:
        ends = zip(_numbers(frame["map5_low"]), _numbers(frame["map5_high"]), strict=True)
        intervals = [f" ({low}-{high})" if NONE not in (low, high) else "" for low, high in ends]
        measures[overall] = [f"{point}{ends}" for point, ends in zip(measures[overall], intervals, strict=True)]
    measures["threshold"] = [
        _threshold(*pair) for pair in zip(frame["threshold"], frame["threshold_auto"], strict=True)
    ]

    at = [name for name in frame.columns if str(name).startswith("at_")]
    curves = {name.removeprefix("at_"): _numbers(frame[name]) for name in at}
    best_at = {name.removeprefix("at_"): _best(frame[name], False) for name in at}
    drawn = [row for row, prediction in enumerate(frame.index) if frame.loc[prediction, at].notna().any()]
    found = [_table("On validation, each prediction at its threshold", names, measures, best, range(len(names)))]
    if drawn:
        found.append(
            _table("MAP@5 without duplicates, at auto and at one threshold for all", names, curves, best_at, drawn)
        )
    return found


def notes(found: Mapping[str, Figures], predictions: Sequence[str]) -> list[str]:
    """Return what is to be said below the tables: the baselines, and what is missing or from elsewhere."""
    said = []
    baselines = [
        f"{called} {max(values):.3f}"
        for key, called in (
            ("baseline_new_whale", "new_whale for all"),
            ("baseline_duplicates", "duplicates, else new_whale"),
            ("baseline_centroid", "nearest centroid, at best"),
        )
        if (values := [each.metrics[key] for each in found.values() if key in each.metrics])
    ]
    if baselines:
        said.append(f"Baselines: {'; '.join(baselines)}.")
    if any("solution_map5" in each.metrics for each in found.values()):
        said.append("solution: MAP@5 on the queries, whose truth is known.")
    if missing := [prediction for prediction in predictions if prediction not in found]:
        said.append(f"Without figures so far: {', '.join(missing)}.")
    if unvalidated := [prediction for prediction, each in found.items() if "map5" not in each.metrics]:
        said.append(f"Not validated, since validation's photos were learnt: {', '.join(unvalidated)}.")
    return said


def as_text(found: Mapping[str, Figures], predictions: Sequence[str]) -> str:
    """Return the comparison for a terminal of 120 columns; the best of a column is followed by `*`.

    Raises:
        WhaleidError: there is nothing to compare.
    """
    if not found:
        raise WhaleidError(
            f"There is nothing to compare: none of {', '.join(predictions)} has figures in "
            f"{paths.figures('PREDICTION')}. `dvc repro` predicts them all."
        )
    said = ["\n".join([table.title, *_lines(table)]) for table in tables(compare(found))]
    return "\n\n".join([*said, "\n".join(["* the best of its column", *notes(found, predictions)])])


def as_markdown(found: Mapping[str, Figures], predictions: Sequence[str]) -> str:
    """Return the comparison as Markdown; the best of a column is bold."""
    blocks = []
    for table in tables(compare(found)):
        rows = [
            [f"**{cell}**" if mark else cell for cell, mark in zip(*row, strict=True)]
            for row in zip(table.rows, table.best, strict=True)
        ]
        rule = ["---", *["--:"] * (len(table.header) - 1)]
        blocks += [table.title, "\n".join(f"| {' | '.join(cells)} |" for cells in (table.header, rule, *rows))]
    return "\n\n".join([*blocks, *notes(found, predictions)]) + "\n"


def as_html(found: Mapping[str, Figures], predictions: Sequence[str]) -> str:
    """Return the comparison as a page of its own; the best of a column is bold."""
    body: list[str] = []
    for table in tables(compare(found)):
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
        rows = [
            "".join(
                f"<td{' class=best' if mark else ''}>{html.escape(cell)}</td>" for cell, mark in zip(*row, strict=True)
            )
            for row in zip(table.rows, table.best, strict=True)
        ]
        body += [f"<h2>{html.escape(table.title)}</h2>", "<table>", f"<tr>{head}</tr>"]
        body += [*(f"<tr>{row}</tr>" for row in rows), "</table>"]
    body += [f"<p>{html.escape(note)}</p>" for note in notes(found, predictions)]
    return "\n".join([HEAD, *body, ""])


def summary(predictions: Sequence[str]) -> Summary:
    """Return what the parent of an execution shows once `predictions` were made."""
    found = read(predictions)
    metrics = {
        f"{key}.{name}": figures.metrics[key]
        for name, figures in found.items()
        for key in ("map5", "map5_known", "threshold", "solution_map5")
        if key in figures.metrics
    }
    validated = {name: figures.metrics["map5"] for name, figures in found.items() if "map5" in figures.metrics}
    if validated:
        metrics["map5"] = max(validated.values())  # so that executions can be sorted
    return Summary(metrics, as_markdown(found, predictions), {"summary.html": as_html(found, predictions)})


HEAD = """<!doctype html>
<meta charset="utf-8">
<title>whaleid: the predictions compared</title>
<style>
body { font: 13px/1.4 system-ui, sans-serif; margin: 1rem; color: #1d2733; background: #fff }
h2 { font-size: 1rem; margin: 1.2rem 0 .4rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #dde3ea; vertical-align: bottom }
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { color: #52606d; font-weight: 600 }
.best { font-weight: 700; background: #e3f4ea }
p { color: #52606d; max-width: 60rem }
</style>"""


def _metrics(path: Path) -> dict[str, float]:
    """Return a prediction's figures; none where neither validation nor a solution has measured it."""
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        measured = {str(key): float(value) for key, value in figures.items() if value is not None}
    except (ValueError, TypeError, AttributeError) as error:
        raise WhaleidError(
            f"{path} does not hold a prediction's figures ({error}): `dvc repro --force predict` makes it anew."
        ) from error
    return measured if {"map5", "solution_map5"} & measured.keys() else {}


def _curve(path: Path) -> pd.DataFrame:
    try:
        curve = files.read_csv(path)
        return curve[["threshold", "map5"]].astype(float)
    except (ValueError, KeyError) as error:
        raise WhaleidError(
            f"{path} does not hold MAP@5 by threshold ({error}): `dvc checkout` brings back what `rank` left."
        ) from error


def _at(curve: pd.DataFrame | None, threshold: float) -> float:
    """Return MAP@5 at `threshold`, NaN where the curve has no such threshold."""
    if curve is None:
        return np.nan
    there = curve.loc[np.isclose(curve["threshold"], threshold), "map5"]
    return float(there.iloc[0]) if len(there) else np.nan


def _numbers(column: pd.Series) -> list[str]:
    return [NONE if np.isnan(value) else f"{value:.3f}" for value in column]


def _best(column: pd.Series, least: bool) -> list[bool]:
    """Say which values look best. One value alone is not the best of anything."""
    rounded = column.round(3)
    best = rounded.min() if least else rounded.max()
    return [column.notna().sum() > 1 and value == best for value in rounded]


def _threshold(threshold: float, automatic: float) -> str:
    if np.isnan(threshold):
        return NONE
    if threshold == automatic:
        return f"auto {threshold:g}"
    return f"{threshold:g}" if np.isnan(automatic) else f"{threshold:g} (auto {automatic:g})"


def _table(
    title: str,
    names: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    best: Mapping[str, Sequence[bool]],
    rows: Collection[int],
) -> Table:
    nowhere = [False] * len(names)
    return Table(
        title,
        ["prediction", *columns],
        [[names[row], *(cells[row] for cells in columns.values())] for row in rows],
        [[False, *(best.get(name, nowhere)[row] for name in columns)] for row in rows],
    )


def _lines(table: Table) -> list[str]:
    """Return the lines of a table in columns; a mark stands behind its number, which stays below the others."""
    cells = [
        [f"{cell}{'*' if mark else ' '}" for cell, mark in zip(*row, strict=True)]
        for row in zip(table.rows, table.best, strict=True)
    ]
    lines = [[f"{name} " for name in table.header], *cells]
    wide = [max(len(line[column]) for line in lines) for column in range(len(table.header))]
    return ["  " + " ".join([f"{line[0]:<{wide[0]}}", *map(str.rjust, line[1:], wide[1:])]).rstrip() for line in lines]
