"""Predictions compared: figures of each at its threshold, and MAP@5 at others, from the files that DVC keeps."""

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
COLUMNS = [*MEASURES, *BASELINES, "map5_low", "map5_high", "threshold", "threshold_auto", "map5_auto"]
SUMMARY = ["map5", "map5_known", "threshold", "solution_map5"]
"""Figures of each prediction that the summary has."""
NONE = "-"


def read(predictions: Sequence[str]) -> pd.DataFrame:
    """Return a row for each of `predictions`: `COLUMNS`, and MAP@5 without duplicates at thresholds, as `at_0.1`.

    NaN where a prediction has no such figure. A chosen threshold that is on no curve has no column.

    Raises:
        WhaleidError: a file does not hold figures.
    """
    figures = pd.DataFrame([_figures(name) for name in predictions], index=[*predictions], columns=COLUMNS, dtype=float)
    chosen = figures.loc[figures["threshold"] != figures["threshold_auto"], "threshold"]
    curves = pd.DataFrame({name: _curve(name) for name in predictions}).T
    compared = curves[curves.columns.intersection(pd.Index([*THRESHOLDS, *chosen]))]
    return figures.join(compared.rename(columns="at_{:g}".format))


def as_text(comparison: pd.DataFrame) -> str:
    """Return the result of `read` for a terminal of 120 columns; the best of a column is followed by `*`.

    Raises:
        WhaleidError: there is nothing to compare.
    """
    if not (tables := _tables(comparison)):
        raise WhaleidError(
            f"There is nothing to compare: none of {', '.join(comparison.index)} has figures in "
            f"{paths.figures('PREDICTION')}. `dvc repro` predicts them all."
        )
    blocks = []
    for title, texts, best in tables:
        # a mark stands behind its number, so that numbers stay aligned
        marked = (texts + np.where(best, "*", " ")).rename(columns="{} ".format)
        lines = [title, *marked.rename_axis("prediction", axis="columns").to_string().splitlines()]
        blocks.append("\n  ".join(line.rstrip() for line in lines))
    return "\n\n".join([*blocks, "\n".join(["* the best of its column", *_notes(comparison)])])


def as_markdown(comparison: pd.DataFrame) -> str:
    """Return the result of `read` as Markdown; the best of a column is bold."""
    blocks = []
    for title, texts, best in _tables(comparison):
        marked = texts.mask(best, "**" + texts + "**").reset_index(names="prediction")
        rows = [[*marked.columns], ["---", *["--:"] * len(texts.columns)], *marked.to_numpy().tolist()]
        blocks += [title, "\n".join(f"| {' | '.join(row)} |" for row in rows)]
    return "\n\n".join([*blocks, *_notes(comparison)]) + "\n"


def summary(predictions: Sequence[str]) -> Summary:
    """Return the comparison of `predictions` for the parent of their runs."""
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
            f"{path} does not hold a prediction's figures ({error}): `dvc repro --force predict` makes it anew."
        ) from error


def _curve(prediction: str) -> pd.Series[float]:
    """Return MAP@5 by threshold; it is empty for a prediction without a curve."""
    path = paths.ranking(prediction) / paths.CURVE
    if not path.exists():
        return pd.Series(dtype=float)
    try:
        return files.read_csv(path).astype(float).set_index("threshold")["map5"]
    except (ValueError, KeyError) as error:
        raise WhaleidError(
            f"{path} does not hold MAP@5 by threshold ({error}): `dvc checkout` brings back what `rank` left."
        ) from error


def _measured(comparison: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions with figures: without validation and without a solution, nothing was measured."""
    return comparison.dropna(subset=["map5", "solution_map5"], how="all")


def _tables(comparison: pd.DataFrame) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Return for each table its title, its texts, and which of them are the best of their column."""
    measured = _measured(comparison)
    if measured.empty:
        return []
    measures = measured[[*MEASURES]].dropna(axis=1, how="all")
    texts, best = _texts(measures), _best(measures)
    if "map5" in texts:
        ends = _texts(measured[["map5_low", "map5_high"]]).itertuples(index=False)
        texts["map5"] += [f" ({low}-{high})" if NONE not in (low, high) else "" for low, high in ends]
    texts["threshold"] = [*map(_threshold, measured["threshold"], measured["threshold_auto"])]
    best = best.assign(threshold=False)
    title = "On validation, each prediction at its threshold"
    tables = [(title, texts.rename(columns=MEASURES), best.rename(columns=MEASURES))]
    # cross-validated at auto; at the others, there is one threshold for all folds
    at = measured[["map5_auto", *measured.filter(like="at_")]].dropna(how="all")
    if len(at):
        at = at.rename(columns=lambda name: name.removeprefix("map5_").removeprefix("at_"))
        tables.append(("MAP@5 without duplicates, at auto and at one threshold for all", _texts(at), _best(at)))
    return tables


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.map(lambda value: NONE if np.isnan(value) else f"{value:.3f}").astype(object)


def _best(frame: pd.DataFrame) -> pd.DataFrame:
    """Return which values are the best of their column, to the digits in its text; a single value is not."""
    rounded = frame.round(3)
    best = rounded.eq(rounded.max())
    for column in frame.columns.intersection(LOWER_IS_BETTER):
        best[column] = rounded[column].eq(rounded[column].min())
    return best & (frame.notna().sum() > 1)


def _threshold(threshold: float, auto: float) -> str:
    if np.isnan(threshold):
        return NONE
    if threshold == auto:
        return f"auto {threshold:g}"
    return f"{threshold:g}" if np.isnan(auto) else f"{threshold:g} (auto {auto:g})"


def _notes(comparison: pd.DataFrame) -> list[str]:
    """Return the lines below the tables: baselines, and which predictions lack what."""
    measured, lines = _measured(comparison), []
    if baselines := [
        f"{BASELINES[str(key)]} {value:.3f}" for key, value in measured[[*BASELINES]].max().dropna().items()
    ]:
        lines.append(f"Baselines: {'; '.join(baselines)}.")
    if measured["solution_map5"].notna().any():
        lines.append("solution: MAP@5 on the queries, whose truth is known.")
    if missing := [*comparison.index.difference(measured.index, sort=False)]:
        lines.append(f"Without figures so far: {', '.join(missing)}.")
    if unvalidated := [*measured.index[measured["map5"].isna()]]:
        lines.append(f"Not validated, since validation's photos were learnt: {', '.join(unvalidated)}.")
    return lines
