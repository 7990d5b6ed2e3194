"""Comparison of predictions: their figures at their thresholds, and MAP@5 at other thresholds.

The values are read from the outputs of stages `rank` and `predict`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.core.record import Summary
from whaleid.report.names import BASELINES

THRESHOLDS = (0.1, 0.2, 0.3, 0.5)
"""Thresholds at which all predictions are compared, in addition to `auto` and the chosen thresholds."""
MEASURES = {
    "map5": "MAP@5 (95 % interval)",
    "map5_no_duplicates": "no duplicates",
    "map5_known": "known",
    "map5_unknown": "unknown",
    "auroc": "AUROC",
    "ece": "ECE",
    "solution_map5": "solution",
}
"""Column heading of each figure to compare, by key."""
LOWER_IS_BETTER = ["ece"]
COLUMNS = [*MEASURES, *BASELINES, "map5_low", "map5_high", "threshold", "threshold_auto", "map5_auto"]
"""Figures that `read` returns."""
SUMMARY = ["map5", "map5_known", "threshold", "solution_map5"]
"""Figures of each prediction in the summary."""
MISSING = "-"
"""Text of a missing value."""


def read(predictions: Sequence[str]) -> pd.DataFrame:
    """Read the figures of `predictions`, and MAP@5 without duplicates at common thresholds.

    Returns:
        One row per prediction, indexed by its name. The columns are `COLUMNS` and one column per threshold, such as
        `at_0.1`; missing values are NaN. A chosen threshold that is not on the grid of the curves has no column.

    Raises:
        WhaleidError: a file does not contain figures.
    """
    figures = pd.DataFrame([_figures(name) for name in predictions], index=[*predictions], columns=COLUMNS, dtype=float)
    chosen = figures.loc[figures["threshold"] != figures["threshold_auto"], "threshold"]
    curves = pd.DataFrame({name: _curve(name) for name in predictions}).T
    compared = curves[curves.columns.intersection(pd.Index([*THRESHOLDS, *chosen]))]
    return figures.join(compared.rename(columns="at_{:g}".format))


def as_text(comparison: pd.DataFrame) -> str:
    """Format the result of `read` for a terminal of 120 columns. `*` marks the best value of a column.

    Raises:
        WhaleidError: no prediction has figures.
    """
    if not (tables := _tables(comparison)):
        raise WhaleidError(
            f"There are no figures to compare in {paths.figures('PREDICTION')} for {', '.join(comparison.index)}. "
            "Run `dvc repro`."
        )
    blocks = []
    for title, texts, best in tables:
        # values without a mark get a space instead, so that numbers stay aligned
        marked = (texts + np.where(best, "*", " ")).rename(columns="{} ".format)
        lines = [title, *marked.rename_axis("prediction", axis="columns").to_string().splitlines()]
        blocks.append("\n  ".join(line.rstrip() for line in lines))
    return "\n\n".join([*blocks, "\n".join(["* best of its column", *_notes(comparison)])])


def as_markdown(comparison: pd.DataFrame) -> str:
    """Format the result of `read` as Markdown. The best value of a column is bold."""
    blocks = []
    for title, texts, best in _tables(comparison):
        marked = texts.mask(best, "**" + texts + "**").reset_index(names="prediction")
        rows = [[*marked.columns], ["---", *["--:"] * len(texts.columns)], *marked.to_numpy().tolist()]
        blocks += [title, "\n".join(f"| {' | '.join(row)} |" for row in rows)]
    return "\n\n".join([*blocks, *_notes(comparison)]) + "\n"


def summary(predictions: Sequence[str]) -> Summary:
    """Return the comparison of `predictions` for their parent run in MLflow."""
    comparison = read(predictions)
    metrics = {
        f"{key}.{name}": value
        for key, column in _measured(comparison)[SUMMARY].items()
        for name, value in column.dropna().items()
    }
    if comparison["map5"].notna().any():
        metrics["map5"] = comparison["map5"].max()  # executions are sorted by it
    return Summary(metrics, as_markdown(comparison))


def _figures(prediction: str) -> dict[str, float]:
    path = paths.figures(prediction)
    if not path.exists():
        return {}
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        return {key: float(value) for key, value in figures.items() if value is not None}
    except (ValueError, TypeError, AttributeError) as error:
        raise WhaleidError(
            f"{path} does not contain figures of a prediction ({error}). Run `dvc repro --force predict` to rebuild it."
        ) from error


def _curve(prediction: str) -> pd.Series[float]:
    """Read MAP@5 by threshold; the series is empty for a prediction without a threshold curve."""
    path = paths.ranking(prediction) / paths.CURVE
    if not path.exists():
        return pd.Series(dtype=float)
    try:
        return files.read_csv(path).astype(float).set_index("threshold")["map5"]
    except (ValueError, KeyError) as error:
        raise WhaleidError(
            f"{path} does not contain MAP@5 by threshold ({error}). Run `dvc checkout` to restore the output of `rank`."
        ) from error


def _measured(comparison: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of predictions that were measured, on validation or by the solution."""
    return comparison.dropna(subset=["map5", "solution_map5"], how="all")


def _tables(comparison: pd.DataFrame) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Return each table as its title, its formatted values, and which of them are the best of their column."""
    measured = _measured(comparison)
    if measured.empty:
        return []
    measures = measured[[*MEASURES]].dropna(axis=1, how="all")
    texts, best = _texts(measures), _best(measures)
    if "map5" in texts:
        ends = _texts(measured[["map5_low", "map5_high"]]).itertuples(index=False)
        texts["map5"] += [f" ({low}-{high})" if MISSING not in (low, high) else "" for low, high in ends]
    texts["threshold"] = [*map(_threshold, measured["threshold"], measured["threshold_auto"])]
    best = best.assign(threshold=False)
    title = "On validation, each prediction at its threshold"
    tables = [(title, texts.rename(columns=MEASURES), best.rename(columns=MEASURES))]
    # auto is cross-validated; at the other thresholds, all folds use the same one
    at = measured[["map5_auto", *measured.filter(like="at_")]].dropna(how="all")
    if len(at):
        at = at.rename(columns=lambda name: name.removeprefix("map5_").removeprefix("at_"))
        tables.append(("MAP@5 without duplicates, at auto and at fixed thresholds", _texts(at), _best(at)))
    return tables


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.map(lambda value: MISSING if np.isnan(value) else f"{value:.3f}").astype(object)


def _best(frame: pd.DataFrame) -> pd.DataFrame:
    """Return which values are the best of their column, compared as displayed; a single value is not marked."""
    rounded = frame.round(3)
    best = rounded.eq(rounded.max())
    for column in frame.columns.intersection(LOWER_IS_BETTER):
        best[column] = rounded[column].eq(rounded[column].min())
    return best & (frame.notna().sum() > 1)


def _threshold(threshold: float, auto: float) -> str:
    if np.isnan(threshold):
        return MISSING
    if threshold == auto:
        return f"auto {threshold:g}"
    return f"{threshold:g}" if np.isnan(auto) else f"{threshold:g} (auto {auto:g})"


def _notes(comparison: pd.DataFrame) -> list[str]:
    """Return the lines below the tables: the baselines, and which predictions have no figures or no validation."""
    measured, lines = _measured(comparison), []
    if baselines := [
        f"{BASELINES[str(key)]} {value:.3f}" for key, value in measured[[*BASELINES]].max().dropna().items()
    ]:
        lines.append(f"Baselines: {'; '.join(baselines)}.")
    if measured["solution_map5"].notna().any():
        lines.append("solution: MAP@5 on the queries with a true label in solution.csv.")
    if missing := [*comparison.index.difference(measured.index, sort=False)]:
        lines.append(f"Without figures: {', '.join(missing)}.")
    if unvalidated := [*measured.index[measured["map5"].isna()]]:
        lines.append(f"Not validated, because trained on the validation photos: {', '.join(unvalidated)}.")
    return lines
