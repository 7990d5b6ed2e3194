"""Run commands concurrently: all must succeed, and no result may be lost.

- queue: two workers of `dvc queue start --jobs 2` run `predict` at several thresholds;
- people: two clones run `dvc repro` and `dvc push` at the same time, with one MLflow store (SQLite) and one DVC remote;
  a third clone pulls;
- identify: four processes of `whaleid identify` run during a training, with a common cache folder that is empty;
- add: two reviewers add photos to one catalogue;
- register: two people register models of different predictions.

    python tests/faults/together.py [--only PART] [--target predict]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the test helpers

from helpers import repository
from helpers.project import init_repository

THRESHOLDS = ("0.1", "0.2", "0.3", "0.4")
PREDICTIONS = ("phash", "toy", "full", "threshold", "margin", "final")
"""All predictions; each is computed again for a new threshold."""
TRAINED_VARIANT = "margin"
"""The variant trained while photos are identified."""


def start(folder: Path, environment: dict[str, str], *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    """Wait for all processes, check their exit codes and return their outputs."""
    outputs = [process.communicate()[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, f"{process.args!r}:\n{output}"
    return outputs


def whaleid(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "whaleid", *arguments)


def init_reproduced_repository(folder: Path, environment: dict[str, str], target: str = "") -> None:
    """Create a repository, run its pipeline and commit the result."""
    folder.mkdir()
    init_repository(folder)
    finish(start(folder, environment, "dvc", "repro", "--quiet", *([target] if target else [])))
    commit(folder, environment)


def commit(folder: Path, environment: dict[str, str]) -> None:
    finish(start(folder, environment, "git", "add", "."))
    finish(start(folder, environment, "git", "commit", "--quiet", "-m", "Current state"))


def stages(folder: Path) -> Counter[tuple[str, str, str]]:
    """Count MLflow runs by stage, variant and status."""
    runs = [(run.data.tags, run.info.status) for run in repository.runs(folder)]
    return Counter((tags["whaleid.stage"], tags.get("whaleid.variant", ""), status) for tags, status in runs)


def queue(folder: Path, environment: dict[str, str]) -> dict[str, object]:
    """Let two workers run `predict` at `THRESHOLDS` in `folder`, where the pipeline has run; count experiments and
    runs."""
    before = stages(folder)
    finish(start(folder, environment, "dvc", "exp", "run", "--queue", "-S", f"threshold={','.join(THRESHOLDS)}"))
    finish(start(folder, environment, "dvc", "queue", "start", "--jobs", "2"))
    while True:
        [status] = finish(start(folder, environment, "dvc", "queue", "status"))
        if "Worker status: 0 active" in status and "Queued" not in status and "Running" not in status:
            break
        time.sleep(2)
    new = stages(folder) - before
    assert status.count("Success") == len(THRESHOLDS), status
    [listed] = finish(start(folder, environment, "dvc", "exp", "list", "--name-only"))
    assert len(listed.split()) == len(THRESHOLDS), listed
    parents = {("pipeline", "", "FINISHED"): len(THRESHOLDS)}
    predictions = {("predict", variant, "FINISHED"): len(THRESHOLDS) for variant in PREDICTIONS}
    assert new == parents | predictions, new
    predict_runs = [run for run in repository.runs(folder) if run.data.tags["whaleid.stage"] == "predict"]
    counts = Counter(run.data.params.get("threshold") for run in predict_runs)
    assert {value: counts[value] for value in THRESHOLDS} == dict.fromkeys(THRESHOLDS, len(PREDICTIONS)), counts
    return {"queue_experiments": len(THRESHOLDS), "queue_runs": sum(new.values())}


def people(root: Path, environment: dict[str, str], target: str) -> dict[str, object]:
    """Let two clones run up to `target` at the same time and a third clone pull; count runs, stages and files."""
    origin, store = root / "origin", root / "store"
    for folder in (origin, store):
        folder.mkdir()
    init_repository(origin)
    finish(start(origin, environment, "dvc", "remote", "add", "--default", "shared", str(root / "remote")))
    commit(origin, environment)
    shared = environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"}
    clones = [root / name for name in ("ada", "ben", "third")]
    for clone in clones:
        finish(start(root, environment, "git", "clone", "--quiet", str(origin), str(clone)))
    concurrent = clones[:2]
    finish(*(start(clone, shared, "dvc", "repro", "--quiet", target) for clone in concurrent))
    finish(*(start(clone, shared, "dvc", "push", "--quiet") for clone in concurrent))
    first, second = (repository.digests(clone) for clone in concurrent)
    assert repository.differing_files(first, second) == []
    assert (concurrent[0] / "dvc.lock").read_bytes() == (concurrent[1] / "dvc.lock").read_bytes()

    third = clones[2]
    commit(concurrent[0], environment)
    finish(start(third, environment, "git", "pull", "--quiet", str(concurrent[0]), "HEAD"))
    finish(start(third, shared, "dvc", "pull", "--quiet", "--allow-missing", target, "--with-deps"))
    [output] = finish(start(third, shared, "dvc", "repro", target))
    assert "Running stage" not in output, output
    assert repository.differing_files(first, repository.digests(third)) == []
    counts = stages(store)
    assert counts.pop(("pipeline", "", "FINISHED")) == 1, counts  # one parent run: the same commit and parameters
    assert set(counts.values()) == {2}, counts
    assert {status for _, _, status in counts} == {"FINISHED"}
    return {"people_runs": sum(counts.values()), "people_stages": len(counts), "people_files": len(first)}


def identify(
    folder: Path, root: Path, environment: dict[str, str], model: str, processes: int = 4
) -> dict[str, object]:
    """Identify photos in several processes during a training: all write the same bytes, and the training is
    unaffected."""
    checkpoint = folder / f"checkpoints/{TRAINED_VARIANT}.safetensors"
    before = checkpoint.read_bytes()
    fresh = environment | {"XDG_CACHE_HOME": str(root / "fresh cache"), "WHALEID_TRACKING": "off"}
    checkpoint.unlink()
    started = time.monotonic()
    training = start(folder, fresh, *whaleid("train", TRAINED_VARIANT))
    command = whaleid("identify", "data/sample/test", "--model", model)
    identifying = [start(folder, fresh, *command, "--csv", f"{root}/{number}.csv") for number in range(processes)]
    during = training.poll() is None
    finish(*identifying)
    seconds = time.monotonic() - started
    finish(training)
    assert during
    assert checkpoint.read_bytes() == before
    tables = [(root / f"{number}.csv").read_bytes() for number in range(processes)]
    photos = len(list((folder / "data/sample/test").iterdir()))
    assert len(pd.read_csv(root / "0.csv")) == photos
    assert set(tables) == {tables[0]}
    return {"identify_photos": processes * photos, "identify_seconds": round(seconds, 1)}


def add(folder: Path, root: Path, environment: dict[str, str], model: str) -> dict[str, object]:
    """Let two reviewers add photos to one catalogue at the same time; check its rows and files."""
    quiet = environment | {"WHALEID_TRACKING": "off"}
    finish(start(folder, quiet, *whaleid("import", "data/sample", "--to", str(root / "whales"))))
    finish(
        start(
            folder,
            quiet,
            *whaleid("identify", "data/sample/test", "--model", model),
            *("--csv", f"{root}/new.csv"),
        )
    )
    answers = pd.read_csv(root / "new.csv", dtype=str, keep_default_na=False)
    new = answers.loc[answers["same_as"] == "", "photo"].tolist()
    reviewed = {"Ada": new[0::2], "Ben": new[1::2]}
    for name, photos in reviewed.items():
        rows = [(photo, f"new:{name}_{number}") for number, photo in enumerate(photos)]
        pd.DataFrame(rows, columns=["photo", "whale"]).to_csv(root / f"{name}.csv", index=False)
    before = len(pd.read_csv(root / "whales/train.csv"))
    options = ("--catalogue", str(root / "whales"), "--model", model)
    finish(
        *(start(folder, quiet, *whaleid("add", str(root / f"{name}.csv"), "--by", name, *options)) for name in reviewed)
    )
    table = pd.read_csv(root / "whales/train.csv", dtype=str)
    record = pd.read_csv(root / "whales/additions.csv", dtype=str)
    assert len(table) == before + len(new), (len(table), before, len(new))
    assert table["Image"].is_unique
    assert record["by"].value_counts().to_dict() == {name: len(photos) for name, photos in reviewed.items()}
    assert {path.name for path in (root / "whales/train").iterdir()} == set(table["Image"])
    assert sorted(record["source"]) == sorted(new)
    return {"add_photos": len(new)}


def register(folder: Path, environment: dict[str, str], predictions: tuple[str, str]) -> dict[str, object]:
    """Register two predictions at the same time: each gets a version, and the better one becomes the champion."""
    from mlflow.tracking import MlflowClient

    for prediction in predictions:
        bundle(folder, environment, prediction)
    finish(*(start(folder, environment, *whaleid("register", prediction)) for prediction in predictions))
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    versions = {version.tags["whaleid.variant"]: version for version in client.search_model_versions("name='whaleid'")}
    assert versions.keys() == set(predictions)
    best = max(versions.values(), key=lambda version: float(version.tags["whaleid.map5"]))
    champion = client.get_model_version_by_alias("whaleid", "champion")
    assert float(champion.tags["whaleid.map5"]) == float(best.tags["whaleid.map5"])
    reasons = [version.tags["whaleid.why"] for version in versions.values()]
    assert reasons.count("the first version") == 1
    assert "RUNNING" not in repository.statuses(folder)
    return {"register_versions": len(versions)}


def bundle(folder: Path, environment: dict[str, str], prediction: str) -> None:
    if not (folder / f"models/{prediction}.bundle").exists():
        finish(start(folder, environment | {"WHALEID_TRACKING": "off"}, *whaleid("bundle", prediction)))


PARTS = ("queue", "people", "identify", "add", "register")


def main(root: Path, parts: tuple[str, ...], target: str) -> dict[str, object]:
    environment = repository.environment(root / "cache")
    figures: dict[str, object] = {}

    def add_figures(name: str, part_figures: dict[str, object], started: float) -> None:
        figures.update({**part_figures, f"{name}_total_seconds": round(time.monotonic() - started)})
        print(f"{name}: {part_figures}", flush=True)

    if "people" in parts:
        started = time.monotonic()
        add_figures("people", people(root, environment, target), started)
    if set(parts) - {"people"}:
        base = root / "base"
        init_reproduced_repository(base, environment)
        print("reproduced", flush=True)
        bundle(base, environment, TRAINED_VARIANT)
        for name, part in {
            "queue": lambda: queue(base, environment),
            "identify": lambda: identify(base, root, environment, f"models/{TRAINED_VARIANT}.bundle"),
            "add": lambda: add(base, root, environment, f"models/{TRAINED_VARIANT}.bundle"),
            "register": lambda: register(base, environment, ("margin", "full")),
        }.items():
            if name in parts:
                started = time.monotonic()
                add_figures(name, part(), started)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--target", default="calibrate@toy", help="the last stage that the two clones of `people` run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(main(Path(folder), (arguments.only,) if arguments.only else PARTS, arguments.target)))
