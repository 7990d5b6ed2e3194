"""Stage `predict`: five labels for every query at the threshold, by every prediction, and what they are worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid.catalog.submission import write_submission
from whaleid.core import files, paths
from whaleid.core.record import Record, Report
from whaleid.identification import measuring, metrics
from whaleid.identification.answers import LABELS, PROBABILITIES
from whaleid.identification.ranking import rank
from whaleid.report import headline, plots

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> dict[str, Record]:
    """Write the submissions, the figures and the headline of all predictions; return what each leaves."""
    solution = files.read_csv(paths.SOLUTION)
    records, figures = {}, {}
    with (
        files.replacing_folder(paths.SUBMISSIONS) as submissions,
        files.replacing_folder(paths.FIGURES) as folder,
        files.replacing_folder(paths.CURVES) as pictures,
    ):
        for name, prediction in params.predictions.items():
            fixed = json.loads((paths.ranking(name) / paths.THRESHOLD_FREE).read_text(encoding="utf-8"))
            answers = files.read_csv(paths.ranking(name) / paths.VALIDATION) if not prediction.calibrated_by else None
            queries = files.read_csv(paths.ranking(name) / paths.QUERIES)
            threshold = fixed.get("threshold_auto")
            if threshold is not None and params.threshold != "auto":
                threshold = params.threshold
            labels, _ = rank(
                queries[LABELS].to_numpy(dtype=np.str_), queries[PROBABILITIES].to_numpy(dtype=float), threshold or 0.0
            )
            ranked = {
                image: [label for label in row if label]
                for image, row in zip(queries["Image"], labels.tolist(), strict=True)
            }
            write_submission(ranked, submissions / paths.submission(name).name)
            figures[name] = measuring.figures_at(threshold, fixed, answers, by_part=params.threshold == "auto")
            figures[name] |= _graded(solution, ranked, set(queries.loc[queries["leaked"] == 1, "Image"]))
            files.write_json(figures[name], folder / paths.figures(name).name)
            artifacts = [paths.submission(name), paths.figures(name)]
            if threshold is not None:
                validated = params.calibration_of(name)
                curve = files.read_csv(paths.ranking(validated) / paths.CURVE)
                figure = plots.threshold_curve(curve, validated, fixed["threshold_auto"], threshold)
                (pictures / paths.curve_picture(name).name).write_bytes(plots.png(figure))
                artifacts.append(paths.curve_picture(name))
            print(_summary(name, prediction.calibrated_by, figures[name], len(queries)))
            records[name] = Record(
                params={
                    "threshold": params.threshold,
                    "validated": "no" if prediction.calibrated_by else "yes",
                    **({"calibrated_by": prediction.calibrated_by} if prediction.calibrated_by else {}),
                },
                metrics=figures[name],
                artifacts=artifacts,
                inputs=[params.decision_of(name), *map(paths.features, prediction.networks)],
                outputs=[paths.submission(name)],
                dataset=paths.SPLIT,
                report=Report(paths.page(name).name, params.decision_of(name)),
            )
    files.write_json(headline.headline(figures), paths.HEADLINE)
    return records


def _graded(solution: pd.DataFrame, ranked: Mapping[str, list[str]], leaked: set[str]) -> dict[str, float]:
    """Return MAP@5 by the solution, where it has rows: of all queries, and of those that are no leaks."""
    fresh = solution[~solution["Image"].isin(leaked)]
    return {
        key: metrics.mean_average_precision([ranked[image] for image in rows["Image"]], rows["Id"].tolist())
        for key, rows in (("solution_map5", solution), ("solution_map5_no_duplicates", fresh))
        if len(rows)
    }


def _summary(name: str, calibrated_by: str | None, figures: Mapping[str, float], queries: int) -> str:
    text = f"predict {name}: {queries:,} queries"
    if "threshold" in figures:
        text += f" at threshold {figures['threshold']:g}"
    if calibrated_by:
        text += f", calibrated by {calibrated_by}, not validated"
    graded = []
    if "map5" in figures:
        graded.append(f"{figures['map5']:.4f} ({figures['map5_low']:.4f} to {figures['map5_high']:.4f}) on validation")
    if "solution_map5" in figures:
        graded.append(f"{figures['solution_map5']:.4f} on the solution")
    return f"{text}; MAP@5 {', '.join(graded)}" if graded else text
