"""Time of the default pipeline, relative to a reference on the same machine, and of small experiments.

    python benchmarks/pipeline.py [--runs 3] [--repros 1]

The reference is 100 training steps of torchvision's resnet18 (batch 32, 3x48x96, float32, AdamW, synthetic photos).
It is timed before and after each `dvc repro`, which runs all stages in a clean clone. Then `dvc exp run -S threshold=…`
is compared with a `dvc exp run` of a minimal pipeline, whose only stage opens and closes one MLflow run, and
`dvc repro` without changes is timed in both projects. The commands alternate, so that a busy machine slows all of them
equally. Prints a table of medians and, as its last line, one JSON object.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from measure import Cost, clone, limit_cores, run

STEPS = 100
BARE = {
    "dvc.yaml": "stages:\n  bare:\n    cmd: python bare.py\n    params: [threshold]\n    deps: [bare.py]\n"
    "    outs:\n    - bare.txt\n",
    "params.yaml": "threshold: 0\n",
    "bare.py": "from pathlib import Path\n\nimport mlflow\n\nmlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
    "with mlflow.start_run():\n    Path('bare.txt').write_text(Path('params.yaml').read_text())\n",
}
"""Files of a minimal project with DVC and MLflow."""


def bare_project(folder: Path) -> None:
    """Create a project with one stage, which opens and closes one MLflow run."""
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


def reference_seconds() -> float:
    """Return the seconds of the reference on this machine."""
    import torch
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = resnet18(num_classes=100)
    optimizer = torch.optim.AdamW(network.parameters())
    photos, labels = torch.randn(32, 3, 48, 96), torch.randint(100, (32,))
    network.train()

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(photos), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step()
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    return time.perf_counter() - started


def main() -> None:
    """Run the benchmark; print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="number of runs of each command")
    parser.add_argument("--repros", type=int, default=1, help="number of runs of dvc repro in a clean clone")
    arguments = parser.parse_args()
    limit_cores(2)
    repros: list[Cost] = []
    references = [reference_seconds()]
    boxes_shares: list[float] = []
    costs: dict[str, list[Cost]] = {"threshold": [], "bare": [], "idle": [], "bare_idle": []}
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(arguments.repros):
            project = Path(temporary) / f"project{number}"
            clone(project)
            repros.append(run(project, "dvc", "repro"))
            references.append(reference_seconds())
            # the stage boxes starts when the stage backbone ends
            start, end = (project / path for path in ("checkpoints/backbone.safetensors", "reports/boxes/sheet.png"))
            boxes_shares.append((end.stat().st_mtime - start.stat().st_mtime) / repros[-1].seconds)
        subprocess.run(
            ["git", "commit", "--quiet", "--all", "--allow-empty", "-m", "reproduced"], cwd=project, check=True
        )
        bare = Path(temporary) / "bare"
        bare_project(bare)
        run(bare, "dvc", "exp", "run", "--quiet")  # creates the MLflow store
        for number in range(arguments.runs):
            # a new value each time, since DVC caches the results of earlier ones
            threshold = f"threshold=0.{200 + number}"
            for name, folder in (("threshold", project), ("bare", bare)):
                costs[name].append(run(folder, "dvc", "exp", "run", "--quiet", "-S", threshold))
            for name, folder in (("idle", project), ("bare_idle", bare)):
                costs[name].append(run(folder, "dvc", "repro", "--quiet"))

    def median_seconds(name: str) -> float:
        return round(median(cost.seconds for cost in costs[name]), 2)

    def ratio(name: str, baseline: str) -> float:
        pairs = zip(costs[name], costs[baseline], strict=True)
        return round(median(cost.seconds / base.seconds for cost, base in pairs), 2)

    repro, reference = median(cost.seconds for cost in repros), median(references)
    metrics = {
        "repro_seconds": round(repro, 1),
        "reference_seconds": round(reference, 1),
        "repro_ratio": round(repro / reference, 2),
        "boxes_share": round(median(boxes_shares), 3),
        "peak_gib": round(max(cost.peak_gib for cost in repros), 2),
        "threshold_seconds": median_seconds("threshold"),
        "threshold_ratio": ratio("threshold", "bare"),
        "idle_seconds": median_seconds("idle"),
        "idle_ratio": ratio("idle", "bare_idle"),
        "runs": arguments.runs,
    }
    rows = (
        ("100 steps of resnet18, the reference", metrics["reference_seconds"], ""),
        ("dvc repro, all stages", metrics["repro_seconds"], f"ratio {metrics['repro_ratio']}"),
        ("dvc exp run -S threshold=0.2", metrics["threshold_seconds"], f"ratio {metrics['threshold_ratio']}"),
        ("dvc exp run, minimal project", median_seconds("bare"), ""),
        ("dvc repro, no changes", metrics["idle_seconds"], f"ratio {metrics['idle_ratio']}"),
        ("dvc repro, no changes, minimal project", median_seconds("bare_idle"), ""),
    )
    for name, seconds, note in rows:
        print(f"{name:40}{seconds:8.2f} s   {note}")
    print(json.dumps(metrics))


if __name__ == "__main__":
    main()
