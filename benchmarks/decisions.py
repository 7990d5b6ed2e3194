"""How long the decisions of a project take, and how good they are on folds of validation they were not fitted on.

    python benchmarks/decisions.py PROJECT

Runs `calibrate` of every variant of PROJECT that has features, then `rank` and `predict` of every prediction whose
networks have, one after another in one process on two cores. PROJECT is a folder in which `embed` has run; what is
written goes to a temporary folder. Prints the seconds of the stages, and a row a prediction:

- ECE before and after calibration, and what as many queries show by chance;
- MAP@5 without duplicates at `auto`, each fold of validation at the threshold found on the others; what one threshold
  in hindsight would gain, the same for all folds (`loss`) or for each fold its own (`by fold`);
- `auto`, and the least and greatest threshold over folds.

The last line is one JSON object. PyTorch is not imported, which is checked.
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

SHOWN = ("ece_uncalibrated", "ece", "ece_chance", "map5_no_duplicates")
T = TypeVar("T")
THRESHOLDS = ("threshold_auto", "threshold_auto_low", "threshold_auto_high")


def project_copy(project: Path, folder: Path) -> Params:
    """Let the inputs of the stages be seen in `folder`, and return the parameters with an absolute `data.root`."""
    for name in ("data", "features"):
        (folder / name).symlink_to((project / name).resolve())
    read = config.load(project / "params.yaml")
    root = (project / read.data.root).resolve()
    return read.model_copy(update={"data": read.data.model_copy(update={"root": str(root)})})


def ready(settings: Params) -> Params:
    """Return the parameters with no more variants and predictions than there are features for."""
    variants = {name: each for name, each in settings.variants.items() if paths.features(name).is_file()}
    of = settings.predictions
    predictions = {
        name: each
        for name, each in of.items()
        if {*each.networks, *of[settings.calibration_of(name)].networks} <= variants.keys()
    }
    return settings.model_copy(update={"variants": variants, "predictions": predictions})


def losses(prediction: str, unknown_share: float) -> dict[str, float]:
    """Return what one threshold in hindsight, the same for all folds or each its own, gains over `auto`."""
    answers = files.read_csv(paths.ranking(prediction) / paths.VALIDATION)
    answers = answers[np.isin(kinds(answers["role"]), ["known", "unknown"])]
    shares = Shares(unknown_share, 0.0)

    def hindsight(rows: pd.DataFrame) -> float:
        truth = rows["truth"].to_numpy(dtype=np.str_)
        return float(threshold_curve(*from_table(rows), truth, kinds(rows["role"]), shares)["map5"].max())

    def at_auto(rows: pd.DataFrame) -> float:
        return figures.map5_by_kind(at_threshold(rows), shares)["map5"]

    by_fold = [hindsight(rows) - at_auto(rows) for _, rows in answers.groupby("fold")]
    return {"loss": hindsight(answers) - at_auto(answers), "loss_by_fold": float(np.mean(by_fold))}


def main() -> None:
    """Measure, print a table, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, help="a folder in which the stages up to embed have run")
    arguments = parser.parse_args()
    limit_cores(2)
    seconds = dict.fromkeys(("calibrate", "rank", "predict"), 0.0)
    results: dict[str, dict[str, float]] = {}
    project = arguments.project.resolve()

    def timed(stage: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            done = work()
        seconds[stage] += time.perf_counter() - started
        return done

    with tempfile.TemporaryDirectory() as temporary:
        settings = project_copy(project, Path(temporary))
        os.chdir(temporary)
        settings = ready(settings)
        for variant in settings.variants:
            timed("calibrate", partial(calibrate.run, settings, variant))
        timed("rank", partial(rank.run, settings))
        for name, record in timed("predict", partial(predict.run, settings)).items():
            results[name] = {key: record.metrics[key] for key in (*SHOWN, *THRESHOLDS) if key in record.metrics}
            if name != PHASH and settings.predictions[name].calibrated_by is None:
                results[name] |= losses(name, settings.split.unknown_share)
        os.chdir(project)
    if {"torch", "torchvision"} & sys.modules.keys():
        raise SystemExit("PyTorch was imported: deciding must not need it.")
    columns = [*SHOWN, "loss", "loss_by_fold", *THRESHOLDS]
    table = pd.DataFrame.from_dict(results, orient="index").reindex(columns=columns)
    headings = ["ECE before", "after", "chance", "MAP@5", "loss", "by fold", "auto", "low", "high"]
    print(table.set_axis(headings, axis=1).to_string(float_format="{:.4f}".format, na_rep=""))
    print(
        ", ".join(f"{stage} {took:.1f} s" for stage, took in seconds.items())
        + f"; {sum(seconds.values()):.1f} s in all"
    )
    rounded = {
        name: {key: round(value, 4) for key, value in row.items() if not np.isnan(value)}
        for name, row in results.items()
    }
    stages = {f"{stage}_seconds": round(took, 2) for stage, took in seconds.items()}
    print(json.dumps({"seconds": round(sum(seconds.values()), 2), **stages, "predictions": rounded}))


if __name__ == "__main__":
    main()
