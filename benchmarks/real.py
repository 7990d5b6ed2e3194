"""Time, memory and accuracy of the whole pipeline on real photos.

    python benchmarks/real.py FOLDER --unknown-share 0.114 [--backbone mobilenet_v2] [--weights FILE] [--folds 0,1,2]

Clones the project into a temporary folder, applies the preset `real` for the catalogue FOLDER, and runs the whole
pipeline once, on the first validation split, then only the ensemble on each further split. Prints a table of MAP@5 on
validation and, as its last line, one JSON object.
"""

import json
import tempfile
from pathlib import Path
from statistics import mean, stdev

from measure import clone_for_photos, keep_only, limit_cores, photo_parser, run

PREDICTIONS = ("phash", "toy", "full", "threshold", "margin", "pairs", "ensemble")
BEST = PREDICTIONS[-1]
METRICS = ("map5", "map5_no_duplicates")


def read_metrics(project: Path, prediction: str) -> dict[str, float]:
    """Return the metrics of `prediction` at its threshold."""
    result: dict[str, float] = json.loads((project / "reports/figures" / f"{prediction}.json").read_text())
    return result


def format_row(name: str, result: dict[str, float]) -> str:
    """Format a row of the table."""
    return f"{name:16} MAP@5 {result['map5']:.4f}, without duplicates {result['map5_no_duplicates']:.4f}"


def main() -> None:
    """Run the benchmark; print a table and one JSON object."""
    parser = photo_parser(__doc__)
    parser.add_argument("--folds", default="0", help="validation splits, separated by commas")
    parser.add_argument("--keep", type=Path, help="clone into this new folder and keep it")
    arguments = parser.parse_args()
    first_fold, *further_folds = arguments.folds.split(",")
    limit_cores(2)
    with tempfile.TemporaryDirectory() as temporary:
        project = arguments.keep or Path(temporary) / "project"
        clone_for_photos(project, arguments)
        run(project, "git", "commit", "-qam", "Preset real")
        cost = run(project, "dvc", "exp", "run", "-S", f"split.fold={first_fold}")
        metrics: dict[str, float] = {"seconds": round(cost.seconds, 1), "peak_gib": round(cost.peak_gib, 2)}
        print(f"the pipeline: {cost.seconds / 60:.1f} minutes, peak {cost.peak_gib:.2f} GiB")
        for name in PREDICTIONS:
            result = read_metrics(project, name)
            metrics |= {f"{name}_{key}": value for key, value in result.items() if key.startswith(("map5", "solution"))}
            print(format_row(name, result), flush=True)
        folds = [result]  # results of BEST, the last prediction
        if further_folds:
            keep_only(project / "params.yaml", BEST)
        for fold in further_folds:
            run(project, "dvc", "exp", "run", "-S", f"split.fold={fold}", "predict")
            folds.append(read_metrics(project, BEST))
            print(format_row(f"{BEST}, fold {fold}", folds[-1]), flush=True)
        if further_folds:
            for key in METRICS:
                values = [result[key] for result in folds]
                metrics |= {f"{BEST}_{key}_mean": mean(values), f"{BEST}_{key}_deviation": stdev(values)}
                print(f"{key}: {mean(values):.4f} ± {stdev(values):.4f}")
    print(json.dumps(metrics))


if __name__ == "__main__":
    main()
