"""What the whole pipeline costs and gives on real photos.

    python benchmarks/real.py FOLDER [--backbone mobilenet_v2] [--weights FILE] [--unknown-share 0.114]

Clones the project into a temporary folder, applies the preset `real` for the catalogue FOLDER, and runs `dvc repro`
once. Prints a table of MAP@5 on validation and, as its last line, one JSON object.
"""

import json
import shutil
import tempfile
from pathlib import Path

from measure import clone_for_photos, limit_cores, photo_parser, run, runs

VARIANTS = ("phash", "toy", "full", "threshold", "margin")


def network_share(store: Path) -> float:
    """Return the least share of its last epoch's time that a variant spent in the network, by the MLflow store."""
    return min(run.data.metrics["network_share"] for run in runs(store) if "network_share" in run.data.metrics)


def main() -> None:
    """Measure, print a table, and one JSON object."""
    parser = photo_parser(__doc__)
    parser.add_argument("--keep", type=Path, help="copy submissions and reports here")
    arguments = parser.parse_args()
    limit_cores(2)
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        clone_for_photos(project, arguments)
        cost = run(project, "dvc", "repro")
        figures: dict[str, float] = {"seconds": round(cost.seconds, 1), "peak_gib": round(cost.peak_gib, 2)}
        figures["network_share"] = round(network_share(project / "mlflow.db"), 3)
        print(
            f"dvc repro: {cost.seconds / 60:.1f} minutes, peak {cost.peak_gib:.2f} GiB, "
            f"{figures['network_share']:.1%} of the time in the network at least"
        )
        for variant in VARIANTS:
            measured = json.loads((project / "reports" / variant / "metrics.json").read_text())
            figures |= {
                f"{variant}_{key}": value for key, value in measured.items() if key.startswith(("map5", "solution"))
            }
            print(f"{variant:10} MAP@5 {measured['map5']:.4f}, without duplicates {measured['map5_no_duplicates']:.4f}")
        if arguments.keep:
            for folder in ("submissions", "reports"):
                shutil.copytree(project / folder, arguments.keep / folder, dirs_exist_ok=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
