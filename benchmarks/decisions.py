"""Time and quality of the stages that decide: `calibrate`, `rank` and `predict`.

    python benchmarks/decisions.py PROJECT

Runs `calibrate` for every variant of PROJECT with features, then `rank` and `predict` for every prediction of these
variants, in one process on two cores. PROJECT is a folder in which `embed` has run. Outputs go to a temporary folder.
Prints the seconds of each stage, and one row per prediction:

- ECE before and after calibration, and the ECE of perfect probabilities on as many queries;
- cross-validated MAP@5 without duplicates at `auto`, and the gain of an oracle threshold over it: one threshold for
  all folds (`oracle`) or one per fold (`by fold`);
- the threshold of `auto`, and its minimum and maximum over folds.

The last line is one JSON object. Fails if PyTorch was imported, which these stages must not need.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from measure import limit_cores

from whaleid import config
from whaleid.config import Params
from whaleid.core import files, paths
from whaleid.core.labels import PHASH
from whaleid.identification import figures
from whaleid.identification.map5 import Shares, kinds
from whaleid.identification.ranking import at_threshold, from_table
from whaleid.identification.threshold import threshold_curve
from whaleid.stages import calibrate, predict, rank

PRINTED_METRICS = ("ece_uncalibrated", "ece", "ece_chance", "map5_no_duplicates")
T = TypeVar("T")
THRESHOLDS = ("threshold_auto", "threshold_auto_low", "threshold_auto_high")


def project_copy(project: Path, folder: Path) -> Params:
    """Link the inputs of the stages into `folder`; return the parameters with an absolute `data.root`."""
    for name in ("data", "features"):
        (folder / name).symlink_to((project / name).resolve())
    settings = config.load(project / "params.yaml")
    root = (project / settings.data.root).resolve()
    return settings.model_copy(update={"data": settings.data.model_copy(update={"root": str(root)})})


def with_features(settings: Params) -> Params:
    """Return the parameters without the variants and predictions whose features do not exist."""
    variants = {name: variant for name, variant in settings.variants.items() if paths.features(name).is_file()}
    all_predictions = settings.predictions
    predictions = {
        name: prediction
        for name, prediction in all_predictions.items()
        if {*prediction.networks, *all_predictions[settings.calibration_source(name)].networks} <= variants.keys()
    }
    return settings.model_copy(update={"variants": variants, "predictions": predictions})


def oracle_gains(prediction: str, unknown_share: float) -> dict[str, float]:
    """Return the gain of oracle thresholds over `auto`: `oracle_gain` for all folds, `oracle_gain_by_fold` per fold."""
    answers = files.read_csv(paths.ranking(prediction) / paths.VALIDATION)
    answers = answers[np.isin(kinds(answers["role"]), ["known", "unknown"])]
    shares = Shares(unknown_share, 0.0)

    def oracle(rows: pd.DataFrame) -> float:
        truth = rows["truth"].to_numpy(dtype=np.str_)
        return float(threshold_curve(*from_table(rows), truth, kinds(rows["role"]), shares)["map5"].max())

    def at_auto(rows: pd.DataFrame) -> float:
        return figures.map5_by_kind(at_threshold(rows), shares)["map5"]

    by_fold = [oracle(rows) - at_auto(rows) for _, rows in answers.groupby("fold")]
    return {"oracle_gain": oracle(answers) - at_auto(answers), "oracle_gain_by_fold": float(np.mean(by_fold))}


def main() -> None:
    """Run the benchmark; print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, help="a folder in which the stages up to embed have run")
    arguments = parser.parse_args()
    limit_cores(2)
    seconds = dict.fromkeys(("calibrate", "rank", "predict"), 0.0)
    results: dict[str, dict[str, float]] = {}
    project = arguments.project.resolve()

    def timed(stage: str, function: Callable[[], T]) -> T:
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            result = function()
        seconds[stage] += time.perf_counter() - started
        return result

    with tempfile.TemporaryDirectory() as temporary:
        settings = project_copy(project, Path(temporary))
        os.chdir(temporary)
        settings = with_features(settings)
        for variant in settings.variants:
            timed("calibrate", partial(calibrate.run, settings, variant))
        timed("rank", partial(rank.run, settings))
        for name, record in timed("predict", partial(predict.run, settings)).items():
            results[name] = {
                key: record.metrics[key] for key in (*PRINTED_METRICS, *THRESHOLDS) if key in record.metrics
            }
            if name != PHASH and settings.predictions[name].calibrated_by is None:
                results[name] |= oracle_gains(name, settings.split.unknown_share)
        os.chdir(project)
    if {"torch", "torchvision"} & sys.modules.keys():
        raise SystemExit("PyTorch was imported, which calibrate, rank and predict must not need.")
    columns = [*PRINTED_METRICS, "oracle_gain", "oracle_gain_by_fold", *THRESHOLDS]
    table = pd.DataFrame.from_dict(results, orient="index").reindex(columns=columns)
    headings = ["ECE before", "after", "chance", "MAP@5", "oracle", "by fold", "auto", "low", "high"]
    print(table.set_axis(headings, axis=1).to_string(float_format="{:.4f}".format, na_rep=""))
    print(
        ", ".join(f"{stage} {duration:.1f} s" for stage, duration in seconds.items())
        + f"; {sum(seconds.values()):.1f} s in total"
    )
    rounded = {
        name: {key: round(value, 4) for key, value in row.items() if not np.isnan(value)}
        for name, row in results.items()
    }
    stages = {f"{stage}_seconds": round(duration, 2) for stage, duration in seconds.items()}
    print(json.dumps({"seconds": round(sum(seconds.values()), 2), **stages, "predictions": rounded}))


if __name__ == "__main__":
    main()
