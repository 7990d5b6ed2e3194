"""Several at once: all finish, and nothing is lost.

- queue: two workers of `dvc queue start --jobs 2` decide at several thresholds;
- people: two clones run `dvc repro` at once, with one MLflow store (SQLite) and one DVC remote, to which both push; a
  third person pulls;
- identify: four `whaleid identify` during a training, with one cache folder, empty at the start;
- add: two reviewers put photos into one catalogue;
- register: two people register a model each, of two predictions.

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

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own modules

from helpers import repository
from helpers.project import init_repository

THRESHOLDS = ("0.1", "0.2", "0.3", "0.4")
DECIDED = ("phash", "toy", "full", "threshold", "margin", "final")
"""The predictions: a threshold decides all of them anew."""
TRAINED = "margin"
"""The variant that is trained while photos are identified."""


def start(folder: Path, environment: dict[str, str], *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    """Wait for all and return what each said; all have to end well."""
    said = [process.communicate()[0] for process in processes]
    for process, text in zip(processes, said, strict=True):
        assert process.returncode == 0, f"{process.args}:\n{text}"
    return said


def whaleid(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "whaleid", *arguments)


def reproduced(folder: Path, environment: dict[str, str], target: str = "") -> None:
    """Make a repository, run its pipeline and commit the result."""
    folder.mkdir()
    init_repository(folder)
    finish(start(folder, environment, "dvc", "repro", "--quiet", *([target] if target else [])))
    commit(folder, environment)


def commit(folder: Path, environment: dict[str, str]) -> None:
    finish(start(folder, environment, "git", "add", "."))
    finish(start(folder, environment, "git", "commit", "--quiet", "-m", "As it stands"))


def stages(folder: Path) -> Counter[tuple[str, str, str]]:
    """Return how many runs there are of each stage and variant, and how they ended."""
    tags = [(each.data.tags, each.info.status) for each in repository.runs(folder)]
    return Counter((tag["whaleid.stage"], tag.get("whaleid.variant", ""), status) for tag, status in tags)


def queue(folder: Path, environment: dict[str, str]) -> dict[str, object]:
    """Let two workers decide at thresholds in `folder`, where all has run; count experiments and runs."""
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
    decided = {("predict", variant, "FINISHED"): len(THRESHOLDS) for variant in DECIDED}
    assert new == parents | decided, new
    predicted = [each for each in repository.runs(folder) if each.data.tags["whaleid.stage"] == "predict"]
    asked = Counter(each.data.params.get("threshold") for each in predicted)
    assert {value: asked[value] for value in THRESHOLDS} == dict.fromkeys(THRESHOLDS, len(DECIDED)), asked
    return {"queue_experiments": len(THRESHOLDS), "queue_runs": sum(new.values())}


def people(home: Path, environment: dict[str, str], target: str) -> dict[str, object]:
    """Let two clones run at once up to `target`; count runs, and have a third person pull."""
    origin, store = home / "origin", home / "store"
    for folder in (origin, store):
        folder.mkdir()
    init_repository(origin)
    finish(start(origin, environment, "dvc", "remote", "add", "--default", "shared", str(home / "remote")))
    commit(origin, environment)
    shared = environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"}
    clones = [home / name for name in ("ada", "ben", "third")]
    for clone in clones:
        finish(start(home, environment, "git", "clone", "--quiet", str(origin), str(clone)))
    both = clones[:2]
    finish(*(start(clone, shared, "dvc", "repro", "--quiet", target) for clone in both))
    finish(*(start(clone, shared, "dvc", "push", "--quiet") for clone in both))
    one, other = (repository.digests(clone) for clone in both)
    assert repository.differing_files(one, other) == []
    assert (both[0] / "dvc.lock").read_bytes() == (both[1] / "dvc.lock").read_bytes()

    third = clones[2]
    commit(both[0], environment)
    finish(start(third, environment, "git", "pull", "--quiet", str(both[0]), "HEAD"))
    finish(start(third, shared, "dvc", "pull", "--quiet", "--allow-missing", target, "--with-deps"))
    [said] = finish(start(third, shared, "dvc", "repro", target))
    assert "Running stage" not in said, said
    assert repository.differing_files(one, repository.digests(third)) == []
    counted = stages(store)
    assert counted.pop(("pipeline", "", "FINISHED")) == 1, counted  # the same commit and parameters
    assert set(counted.values()) == {2}, counted
    assert {status for _, _, status in counted} == {"FINISHED"}
    return {"people_runs": sum(counted.values()), "people_stages": len(counted), "people_files": len(one)}


def identify(
    folder: Path, home: Path, environment: dict[str, str], model: str, processes: int = 4
) -> dict[str, object]:
    """Identify photos by several processes during a training; all answer the same, and the training is as ever."""
    checkpoint = folder / f"checkpoints/{TRAINED}.safetensors"
    before = checkpoint.read_bytes()
    fresh = environment | {"XDG_CACHE_HOME": str(home / "fresh cache"), "WHALEID_TRACKING": "off"}
    checkpoint.unlink()
    began = time.monotonic()
    training = start(folder, fresh, *whaleid("train", TRAINED))
    command = whaleid("identify", "data/sample/test", "--model", model)
    answering = [start(folder, fresh, *command, "--csv", f"{home}/{number}.csv") for number in range(processes)]
    during = training.poll() is None
    finish(*answering)
    seconds = time.monotonic() - began
    finish(training)
    assert during
    assert checkpoint.read_bytes() == before
    tables = [(home / f"{number}.csv").read_bytes() for number in range(processes)]
    photos = len(list((folder / "data/sample/test").iterdir()))
    assert len(pd.read_csv(home / "0.csv")) == photos
    assert set(tables) == {tables[0]}
    return {"identify_photos": processes * photos, "identify_seconds": round(seconds, 1)}


def add(folder: Path, home: Path, environment: dict[str, str], model: str) -> dict[str, object]:
    """Let two reviewers add photos to one catalogue at once; count rows and files."""
    quiet = environment | {"WHALEID_TRACKING": "off"}
    finish(start(folder, quiet, *whaleid("import", "data/sample", "--to", str(home / "whales"))))
    finish(
        start(
            folder,
            quiet,
            *whaleid("identify", "data/sample/test", "--model", model),
            *("--csv", f"{home}/new.csv"),
        )
    )
    answers = pd.read_csv(home / "new.csv", dtype=str, keep_default_na=False)
    new = answers.loc[answers["same_as"] == "", "photo"].tolist()
    reviewed = {"Ada": new[0::2], "Ben": new[1::2]}
    for name, photos in reviewed.items():
        rows = [(photo, f"new:{name}_{number}") for number, photo in enumerate(photos)]
        pd.DataFrame(rows, columns=["photo", "whale"]).to_csv(home / f"{name}.csv", index=False)
    before = len(pd.read_csv(home / "whales/train.csv"))
    options = ("--catalogue", str(home / "whales"), "--model", model)
    finish(
        *(start(folder, quiet, *whaleid("add", str(home / f"{name}.csv"), "--by", name, *options)) for name in reviewed)
    )
    table = pd.read_csv(home / "whales/train.csv", dtype=str)
    record = pd.read_csv(home / "whales/additions.csv", dtype=str)
    assert len(table) == before + len(new), (len(table), before, len(new))
    assert table["Image"].is_unique
    assert record["by"].value_counts().to_dict() == {name: len(photos) for name, photos in reviewed.items()}
    assert {path.name for path in (home / "whales/train").iterdir()} == set(table["Image"])
    assert sorted(record["source"]) == sorted(new)
    return {"add_photos": len(new)}


def register(folder: Path, environment: dict[str, str], predictions: tuple[str, str]) -> dict[str, object]:
    """Register two predictions at once; each has a version, and the better one is champion."""
    from mlflow.tracking import MlflowClient

    for prediction in predictions:
        bundle(folder, environment, prediction)
    finish(*(start(folder, environment, *whaleid("register", prediction)) for prediction in predictions))
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    found = {each.tags["whaleid.variant"]: each for each in client.search_model_versions("name='whaleid'")}
    assert found.keys() == set(predictions)
    better = max(found.values(), key=lambda each: float(each.tags["whaleid.map5"]))
    champion = client.get_model_version_by_alias("whaleid", "champion")
    assert float(champion.tags["whaleid.map5"]) == float(better.tags["whaleid.map5"])
    assert sorted(each.tags["whaleid.why"] for each in found.values()).count("the first version") == 1
    assert "RUNNING" not in repository.statuses(folder)
    return {"register_versions": len(found)}


def bundle(folder: Path, environment: dict[str, str], prediction: str) -> None:
    if not (folder / f"models/{prediction}.bundle").exists():
        finish(start(folder, environment | {"WHALEID_TRACKING": "off"}, *whaleid("bundle", prediction)))


PARTS = ("queue", "people", "identify", "add", "register")


def main(home: Path, parts: tuple[str, ...], target: str) -> dict[str, object]:
    environment = repository.environment(home / "cache")
    figures: dict[str, object] = {}

    def done(name: str, found: dict[str, object], began: float) -> None:
        figures.update({**found, f"{name}_took": round(time.monotonic() - began)})
        print(f"{name}: {found}", flush=True)

    if "people" in parts:
        began = time.monotonic()
        done("people", people(home, environment, target), began)
    if set(parts) - {"people"}:
        base = home / "base"
        reproduced(base, environment)
        print("reproduced", flush=True)
        bundle(base, environment, TRAINED)
        for name, part in {
            "queue": lambda: queue(base, environment),
            "identify": lambda: identify(base, home, environment, f"models/{TRAINED}.bundle"),
            "add": lambda: add(base, home, environment, f"models/{TRAINED}.bundle"),
            "register": lambda: register(base, environment, ("margin", "full")),
        }.items():
            if name in parts:
                began = time.monotonic()
                done(name, part(), began)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--target", default="calibrate@toy", help="how far the two people go")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(main(Path(folder), (asked.only,) if asked.only else PARTS, asked.target)))
