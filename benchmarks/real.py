"""What the whole pipeline costs and gives on real photos.

    python benchmarks/real.py FOLDER --unknown-share 0.114 [--backbone mobilenet_v2] [--weights FILE] [--folds 0,1,2]

Clones the project into a temporary folder, applies the preset `real` for the catalogue FOLDER, and runs the whole
pipeline once, on the first draw of validation; then the ensemble alone on each further draw. Prints a table of MAP@5 on
validation and, as its last line, one JSON object.
"""

import json
import tempfile
from pathlib import Path
from statistics import mean, stdev

from measure import clone_for_photos, keep_only, limit_cores, photo_parser, run

PREDICTIONS = ("phash", "toy", "full", "threshold", "margin", "pairs", "ensemble")
BEST = PREDICTIONS[-1]
FIGURES = ("map5", "map5_no_duplicates")


def measured(project: Path, prediction: str) -> dict[str, float]:
    """Return the figures that `prediction` has at its threshold."""
    result: dict[str, float] = json.loads((project / "reports/figures" / f"{prediction}.json").read_text())
    return result


def line(name: str, result: dict[str, float]) -> str:
    """Return a line of the table."""
    return f"{name:16} MAP@5 {result['map5']:.4f}, without duplicates {result['map5_no_duplicates']:.4f}"


def main() -> None:
    """Measure, print a table, and one JSON object."""
    parser = photo_parser(__doc__)
    parser.add_argument("--folds", default="0", help="draws of validation")
    parser.add_argument("--keep", type=Path, help="clone into this new folder, and leave it as it is in the end")
    arguments = parser.parse_args()
    first, *further = arguments.folds.split(",")
    limit_cores(2)
    with tempfile.TemporaryDirectory() as temporary:
        project = arguments.keep or Path(temporary) / "project"
        clone_for_photos(project, arguments)
        run(project, "git", "commit", "-qam", "Preset real")
        cost = run(project, "dvc", "exp", "run", "-S", f"split.fold={first}")
        figures: dict[str, float] = {"seconds": round(cost.seconds, 1), "peak_gib": round(cost.peak_gib, 2)}
        print(f"the pipeline: {cost.seconds / 60:.1f} minutes, peak {cost.peak_gib:.2f} GiB")
        for name in PREDICTIONS:
            result = measured(project, name)
            figures |= {f"{name}_{key}": value for key, value in result.items() if key.startswith(("map5", "solution"))}
            print(line(name, result), flush=True)
        folds = [result]  # of BEST, the last of them
        if further:
            keep_only(project / "params.yaml", BEST)
        for fold in further:
            run(project, "dvc", "exp", "run", "-S", f"split.fold={fold}", "predict")
            folds.append(measured(project, BEST))
            print(line(f"{BEST}, fold {fold}", folds[-1]), flush=True)
        if further:
            for key in FIGURES:
                values = [result[key] for result in folds]
                figures |= {f"{BEST}_{key}_mean": mean(values), f"{BEST}_{key}_deviation": stdev(values)}
                print(f"{key}: {mean(values):.4f} ± {stdev(values):.4f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
