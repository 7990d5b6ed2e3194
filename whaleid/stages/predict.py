"""Stage `predict`: write five labels for every query at the threshold, and metrics, for every prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.catalog.submission import write_submission
from whaleid.core import files, paths
from whaleid.core.log import logger
from whaleid.core.record import Record, Report
from whaleid.identification import figures
from whaleid.identification.map5 import mean_average_precision
from whaleid.identification.ranking import from_table, rank
from whaleid.report import headline, plots

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> dict[str, Record]:
    """Write the submissions, the figures and the headline of all predictions; return the record of each."""
    solution = files.read_csv(paths.SOLUTION)
    with (
        files.replacing_folder(paths.SUBMISSIONS) as submissions,
        files.replacing_folder(paths.FIGURES) as folder,
        files.replacing_folder(paths.CURVES) as curves,
    ):
        records = {name: _predict(params, name, solution, submissions, folder, curves) for name in params.predictions}
    files.write_json(headline.headline({name: record.metrics for name, record in records.items()}), paths.HEADLINE)
    return records


def _predict(
    params: Params, name: str, solution: pd.DataFrame, submissions: Path, folder: Path, curves: Path
) -> Record:
    """Write the submission, the figures and the threshold curve of a prediction."""
    prediction, calibration, ranking = params.predictions[name], params.calibration_source(name), paths.ranking(name)
    fixed = json.loads((ranking / paths.THRESHOLD_FREE).read_text(encoding="utf-8"))
    answers = None if prediction.calibrated_by else files.read_csv(ranking / paths.VALIDATION)
    metrics = figures.evaluate(fixed, answers, None if params.threshold == "auto" else params.threshold)
    threshold = metrics.get("threshold")
    queries = files.read_csv(ranking / paths.QUERIES)
    labels, _ = rank(*from_table(queries), threshold or 0.0)
    pairs = zip(queries["Image"], labels.tolist(), strict=True)
    ranked = {image: [label for label in row if label] for image, row in pairs}
    write_submission(ranked, submissions / paths.submission(name).name)
    leaked = queries.loc[queries["leaked"] == 1, "Image"]
    no_duplicates = solution[~solution["Image"].isin(leaked)]
    for key, rows in (("solution_map5", solution), ("solution_map5_no_duplicates", no_duplicates)):
        if len(rows):
            metrics[key] = mean_average_precision([ranked[image] for image in rows["Image"]], rows["Id"].tolist())
    files.write_json(metrics, folder / paths.figures(name).name)
    artifacts = [paths.submission(name), paths.figures(name)]
    if threshold is not None:
        curve = files.read_csv(paths.ranking(calibration) / paths.CURVE)
        plot = plots.threshold_curve(curve, calibration, fixed["threshold_auto"], threshold)
        (curves / paths.curve_plot(name).name).write_bytes(plots.png(plot))
        artifacts.append(paths.curve_plot(name))
    logger.info(_summary(name, prediction.calibrated_by, metrics, len(queries)))
    calibrated_by = {"calibrated_by": calibration} if prediction.calibrated_by else {}
    return Record(
        params={"threshold": params.threshold, "validated": "no" if calibrated_by else "yes", **calibrated_by},
        metrics=metrics,
        artifacts=artifacts,
        inputs=[params.decision_path(name), *map(paths.features, prediction.networks)],
        outputs=[paths.submission(name)],
        dataset=paths.SPLIT,
        report=Report(paths.page(name).name, params.decision_path(name)),
    )


def _summary(name: str, calibrated_by: str | None, metrics: Mapping[str, float], queries: int) -> str:
    text = f"predict {name}: {queries:,} queries"
    if "threshold" in metrics:
        text += f" at threshold {metrics['threshold']:g}"
    if calibrated_by:
        text += f", calibrated by {calibrated_by}, not validated"
    map5 = []
    if "map5" in metrics:
        map5.append(f"{metrics['map5']:.4f} ({metrics['map5_low']:.4f} to {metrics['map5_high']:.4f}) on validation")
    if "solution_map5" in metrics:
        map5.append(f"{metrics['solution_map5']:.4f} on the solution")
    return f"{text}; MAP@5 {', '.join(map5)}" if map5 else text
