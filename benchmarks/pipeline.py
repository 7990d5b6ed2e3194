"""How long the default pipeline takes, and how long the threshold gesture does.

    python benchmarks/pipeline.py [--runs 3]

Clones the project into a temporary folder and runs `dvc repro` there, once a run. Then, turn by turn so that a busy
machine slows both alike, `dvc exp run -S threshold=…` and a `dvc exp run` of a pipeline of one stage that opens and
closes one MLflow run. Prints a table of medians and, as its last line, one JSON object.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from statistics import median

from measure import Cost, clone, limit_cores, run

BARE = {
    "dvc.yaml": "stages:\n  bare:\n    cmd: python bare.py\n    params: [threshold]\n    deps: [bare.py]\n"
    "    outs:\n    - bare.txt\n",
    "params.yaml": "threshold: 0\n",
    "bare.py": "from pathlib import Path\n\nimport mlflow\n\nmlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
    "with mlflow.start_run():\n    Path('bare.txt').write_text(Path('params.yaml').read_text())\n",
}
"""The least that DVC and MLflow can be asked for together."""


def bare_project(folder: Path) -> None:
    """Make a project of one stage that opens and closes one MLflow run."""
    folder.mkdir()
    for name, text in BARE.items():
        (folder / name).write_text(text)
    for command in (
        ["git", "init", "--quiet"],
        ["git", "config", "user.name", "benchmark"],
        ["git", "config", "user.email", "benchmark@example.org"],
        ["dvc", "init", "--quiet"],
        ["git", "add", "."],
        ["git", "commit", "--quiet", "-m", "bare"],
    ):
        run(folder, *command)


def main() -> None:
    """Measure, print a table, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each measured command")
    runs = parser.parse_args().runs
    limit_cores(2)
    repros: list[Cost] = []
    gestures: list[Cost] = []
    bares: list[Cost] = []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(runs):
            project = Path(temporary) / f"project{number}"
            clone(project)
            repros.append(run(project, "dvc", "repro"))
        subprocess.run(
            ["git", "commit", "--quiet", "--all", "--allow-empty", "-m", "reproduced"], cwd=project, check=True
        )
        bare = Path(temporary) / "bare"
        bare_project(bare)
        run(bare, "dvc", "exp", "run", "--quiet")  # makes the store
        for number in range(runs):
            threshold = f"threshold=0.{200 + number}"  # a new one each time: DVC knows the others already
            gestures.append(run(project, "dvc", "exp", "run", "--quiet", "-S", threshold))
            bares.append(run(bare, "dvc", "exp", "run", "--quiet", "-S", threshold))

    def middle(costs: list[Cost]) -> float:
        return round(median(cost.seconds for cost in costs), 2)

    figures = {
        "repro_seconds": middle(repros),
        "peak_gib": round(max(cost.peak_gib for cost in repros), 2),
        "threshold_seconds": middle(gestures),
        "bare_seconds": middle(bares),
        "threshold_ratio": round(median(a.seconds / b.seconds for a, b in zip(gestures, bares, strict=True)), 2),
        "runs": runs,
    }
    print(f"dvc repro, from nothing           {figures['repro_seconds']:8.1f} s   peak {figures['peak_gib']:.2f} GiB")
    print(f"dvc exp run -S threshold=0.2      {figures['threshold_seconds']:8.1f} s")
    print(
        f"dvc exp run, one bare MLflow run  {figures['bare_seconds']:8.1f} s   ratio {figures['threshold_ratio']:.2f}"
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
