"""Predictions compared: figures of each at its threshold, and MAP@5 at others, from the files that DVC keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.core.record import Summary
from whaleid.report.names import BASELINES

THRESHOLDS = (0.1, 0.2, 0.3, 0.5)
"""Thresholds that every prediction is compared at, besides `auto` and the thresholds of the predictions."""
MEASURES = {
    "map5": "MAP@5 (95 % interval)",
    "map5_no_duplicates": "no duplicates",
    "map5_known": "known",
    "map5_unknown": "unknown",
    "auroc": "AUROC",
    "ece": "ECE",
    "solution_map5": "solution",
}
"""Figures to compare, and their names in the tables."""
LOWER_IS_BETTER = ["ece"]
SUMMARY = ("map5", "map5_known", "threshold", "solution_map5")
"""Figures of each prediction that the summary has."""
NONE = "-"


@dataclass(frozen=True)
class Figures:
    """The figures of a prediction, and its threshold curve if it has one."""

    metrics: Mapping[str, float]
    curve: pd.DataFrame | None = None


@dataclass(frozen=True)
class Table:
    """A table for people: each row has cells, a text and whether it is the best of its column."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[tuple[str, bool]]]


def read(predictions: Sequence[str]) -> dict[str, Figures]:
    """Return the figures of each of `predictions`, in their order; those without figures are left out.

    Raises:
        WhaleidError: a file does not hold figures.
    """
    figures = {}
    for prediction in predictions:
        path, curve = paths.figures(prediction), paths.ranking(prediction) / paths.CURVE
        # without validation and without a solution, nothing was measured
        if path.exists() and {"map5", "solution_map5"} & (metrics := _metrics(path)).keys():
            figures[prediction] = Figures(metrics, _curve(curve) if curve.exists() else None)
    return figures


def compare(figures: Mapping[str, Figures]) -> pd.DataFrame:
    """Return a row for each prediction: MEASURES, the interval, thresholds, and MAP@5 without duplicates by threshold.

    The latter are the columns `at_auto`, `at_0.1`, …; NaN where a prediction has no such figure. A threshold of a
    prediction that is on no curve has no column.
    """
    columns = [*MEASURES, "map5_low", "map5_high", "threshold", "threshold_auto", "map5_auto"]
    frame = pd.DataFrame(
        [[each.metrics.get(key, np.nan) for key in columns] for each in figures.values()],
        index=pd.Index(figures, name="prediction"),
        columns=pd.Index(columns),
        dtype=float,
    ).rename(columns={"map5_auto": "at_auto"})  # cross-validated; the columns below have one threshold for all folds
    chosen = frame.loc[frame["threshold"] != frame["threshold_auto"], "threshold"].dropna()
    for threshold in sorted({*THRESHOLDS, *chosen}):
        map5 = [_map5_at(each.curve, threshold) for each in figures.values()]
        if threshold in THRESHOLDS or not np.isnan(map5).all():
            frame[f"at_{threshold:g}"] = map5
    return frame


def tables(frame: pd.DataFrame) -> list[Table]:
    """Return the result of `compare` as tables: figures at the threshold of each prediction, and MAP@5 by threshold.

    Values that round to the same digits are equally good.
    """
    measures = frame[list(MEASURES)].dropna(axis=1, how="all")
    texts, best = _texts(measures).rename(columns=MEASURES), _best(measures).rename(columns=MEASURES)
    if MEASURES["map5"] in texts:
        ends = _texts(frame[["map5_low", "map5_high"]]).itertuples(index=False)
        texts[MEASURES["map5"]] += [f" ({low}-{high})" if NONE not in (low, high) else "" for low, high in ends]
    thresholds = zip(frame["threshold"], frame["threshold_auto"], strict=True)
    texts["threshold"] = [_threshold(*pair) for pair in thresholds]
    tables = [_table("On validation, each prediction at its threshold", texts, best)]
    at = frame.filter(like="at_").rename(columns=lambda name: name.removeprefix("at_"))
    drawn = at.notna().any(axis=1)
    if drawn.any():
        title = "MAP@5 without duplicates, at auto and at one threshold for all"
        tables.append(_table(title, _texts(at)[drawn], _best(at)[drawn]))
    return tables


def notes(figures: Mapping[str, Figures], predictions: Sequence[str]) -> list[str]:
    """Return the lines below the tables: baselines, and which predictions lack what."""
    lines = []
    baselines = [
        f"{name} {max(values):.3f}"
        for key, name in BASELINES.items()
        if (values := [each.metrics[key] for each in figures.values() if key in each.metrics])
    ]
    if baselines:
        lines.append(f"Baselines: {'; '.join(baselines)}.")
    if any("solution_map5" in each.metrics for each in figures.values()):
        lines.append("solution: MAP@5 on the queries, whose truth is known.")
    if missing := [prediction for prediction in predictions if prediction not in figures]:
        lines.append(f"Without figures so far: {', '.join(missing)}.")
    if unvalidated := [prediction for prediction, each in figures.items() if "map5" not in each.metrics]:
        lines.append(f"Not validated, since validation's photos were learnt: {', '.join(unvalidated)}.")
    return lines


def as_text(figures: Mapping[str, Figures], predictions: Sequence[str]) -> str:
    """Return the comparison for a terminal of 120 columns; the best of a column is followed by `*`.

    Raises:
        WhaleidError: there is nothing to compare.
    """
    if not figures:
        raise WhaleidError(
            f"There is nothing to compare: none of {', '.join(predictions)} has figures in "
            f"{paths.figures('PREDICTION')}. `dvc repro` predicts them all."
        )
    blocks = []
    for table in tables(compare(figures)):
        # a mark stands behind its number, so that numbers stay aligned
        lines = [[f"{name} " for name in table.header]]
        lines += [[f"{text}{'*' if best else ' '}" for text, best in row] for row in table.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
        blocks.append("\n".join([table.title, *(f"  {' '.join(cells)}".rstrip() for cells in aligned)]))
    return "\n\n".join([*blocks, "\n".join(["* the best of its column", *notes(figures, predictions)])])


def as_markdown(figures: Mapping[str, Figures], predictions: Sequence[str]) -> str:
    """Return the comparison as Markdown; the best of a column is bold."""
    blocks = []
    for table in tables(compare(figures)):
        rows = [[f"**{text}**" if best else text for text, best in row] for row in table.rows]
        rule = ["---", *["--:"] * (len(table.header) - 1)]
        blocks += [table.title, "\n".join(f"| {' | '.join(cells)} |" for cells in (table.header, rule, *rows))]
    return "\n\n".join([*blocks, *notes(figures, predictions)]) + "\n"


def summary(predictions: Sequence[str]) -> Summary:
    """Return the comparison of `predictions` for the parent of their runs."""
    figures = read(predictions)
    metrics = {
        f"{key}.{name}": each.metrics[key] for name, each in figures.items() for key in SUMMARY if key in each.metrics
    }
    if validated := [each.metrics["map5"] for each in figures.values() if "map5" in each.metrics]:
        metrics["map5"] = max(validated)  # executions are sorted by it
    return Summary(metrics, as_markdown(figures, predictions))


def _metrics(path: Path) -> dict[str, float]:
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in figures.items() if value is not None}
    except (ValueError, TypeError, AttributeError) as error:
        raise WhaleidError(
            f"{path} does not hold a prediction's figures ({error}): `dvc repro --force predict` makes it anew."
        ) from error


def _curve(path: Path) -> pd.DataFrame:
    try:
        return files.read_csv(path)[["threshold", "map5"]].astype(float)
    except (ValueError, KeyError) as error:
        raise WhaleidError(
            f"{path} does not hold MAP@5 by threshold ({error}): `dvc checkout` brings back what `rank` left."
        ) from error


def _map5_at(curve: pd.DataFrame | None, threshold: float) -> float:
    """Return MAP@5 at `threshold`, NaN if the curve has no such threshold."""
    if curve is None:
        return np.nan
    map5 = curve.loc[np.isclose(curve["threshold"], threshold), "map5"]
    return float(map5.iloc[0]) if len(map5) else np.nan


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.map(lambda value: NONE if np.isnan(value) else f"{value:.3f}").astype(object)


def _best(frame: pd.DataFrame) -> pd.DataFrame:
    """Return which values are the best of their column; a single value is not the best of anything."""
    rounded = frame.round(3)
    best = rounded.eq(rounded.max())
    for column in frame.columns.intersection(LOWER_IS_BETTER):
        best[column] = rounded[column].eq(rounded[column].min())
    return best & (frame.notna().sum() > 1)


def _table(title: str, texts: pd.DataFrame, best: pd.DataFrame) -> Table:
    marks = best.reindex(columns=texts.columns, fill_value=False)
    rows = [
        [(str(name), False), *zip(cells, best_cells, strict=True)]
        for name, cells, best_cells in zip(texts.index, texts.to_numpy(), marks.to_numpy(), strict=True)
    ]
    return Table(title, ["prediction", *texts.columns], rows)


def _threshold(threshold: float, auto: float) -> str:
    if np.isnan(threshold):
        return NONE
    if threshold == auto:
        return f"auto {threshold:g}"
    return f"{threshold:g}" if np.isnan(auto) else f"{threshold:g} (auto {auto:g})"
