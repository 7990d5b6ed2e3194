"""Build projects to test: params.yaml reduced to a few photos, repositories, and commands that run in them."""

import copy
import importlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from whaleid.config import Params, load

if TYPE_CHECKING:
    from mlflow.entities import Run

    from whaleid.core.record import Record

ROOT = Path(__file__).parents[2]


SMALL_PARAMS = {
    "sample": {"frequent": 6, "occasional": 4, "single": 6, "new_whale": 8, "queries": 30},
    "boxes": {"size": 32, "steps": 30},
    "pack": {"width": 48, "height": 24},
    "backbone": {"embedding": 32},
    "variants": {
        "toy": {"train": {"whales": 4, "epochs": 2, "batch_size": 16}},
        "full": {"train": {"epochs": 2, "batch_size": 16}},
        "threshold": {"train": {"epochs": 1, "batch_size": 16}},
        "margin": {"train": {"epochs": 2, "batch_size": 16}},
        "final": {"train": {"epochs": 2, "batch_size": 16}},
    },
}
"""Changes to params.yaml that make the whole default pipeline fast enough for a test."""


REPRODUCED_PARAMS: dict[str, object] = {
    "backbone": {"name": "squeezenet1_1"},
    "variants": {
        "toy": {"train": {"epochs": 12, "lr": 0.001}},
        "margin": {"init": "toy", "train": {"epochs": 8, "lr": 0.001}},
    },
    "predictions": {"ensemble": {"networks": ["toy", "margin"]}},
}
"""Further changes for the fixture `reproduced`: a small backbone, and an ensemble of two networks."""
PREDICTIONS = ("phash", "toy", "margin", "final", "ensemble")
"""Predictions of the fixture `reproduced`. `full` and `threshold` are excluded: they run the same stages again."""


def update_nested(document: dict[str, object], changes: dict[str, object]) -> None:
    """Update `document` in place with `changes`, section by section."""
    for key, value in changes.items():
        if isinstance(value, dict) and key in document:
            section = document[key]
            assert isinstance(section, dict)
            update_nested(section, value)
        else:
            document[key] = value


def write_params(folder: Path, changes: dict[str, object]) -> None:
    """Write params.yaml to `folder`: the project's own, with SMALL_PARAMS and `changes`."""
    yaml = YAML()
    document = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    update_nested(document, SMALL_PARAMS)
    update_nested(document, copy.deepcopy(changes))
    yaml.dump(document, folder / "params.yaml")


def keep_predictions(folder: Path, *predictions: str) -> None:
    """Keep only these predictions, and the variants that they need, in the params.yaml of a project.

    A prediction `final` is required: if it is not in `predictions`, it gets the networks of the last one.
    """
    yaml, path = YAML(), folder / "params.yaml"
    document = yaml.load(path.read_text(encoding="utf-8"))
    kept = {name: document["predictions"][name] for name in predictions}
    document["predictions"] = kept | {"final": kept.get("final") or {"networks": [*kept[predictions[-1]]["networks"]]}}
    needed = [network for prediction in document["predictions"].values() for network in prediction["networks"]]
    for variant in needed:  # the list grows: the variant that this one starts from is needed as well
        if (start := document["variants"][variant]["init"]) not in ("backbone", *needed):
            needed.append(start)
    document["variants"] = {name: variant for name, variant in document["variants"].items() if name in needed}
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def ensemble_params(**train: object) -> dict[str, object]:
    """Return changes to params.yaml: an ensemble of `margin` and `pairs`, as in the preset `real`, and its `final`."""
    yaml = YAML(typ="safe")
    margin = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))["variants"]["margin"]
    margin["train"] |= {"batch_size": 16, **train}
    pairs = {**margin, "train": {**margin["train"], "min_photos": 2}}
    return {
        "variants": {
            "margin": {**margin, "init": "backbone"},
            "pairs": {**pairs, "init": "backbone"},
            "final": {**margin, "init": "margin", "learn": "all"},
            "final_pairs": {**pairs, "init": "pairs", "learn": "all"},
        },
        "predictions": {
            "ensemble": {"networks": ["margin", "pairs"]},
            "final": {"networks": ["final", "final_pairs"], "calibrated_by": "ensemble"},
        },
    }


def runs(folder: Path) -> "list[Run]":
    """Return all runs in the project's MLflow store."""
    # MLflow never closes a store, even if its file is replaced: read a copy under a new name
    with tempfile.NamedTemporaryFile(suffix=".db", delete=False) as copy:
        copy.write((folder / "mlflow.db").read_bytes())
    from mlflow.tracking import MlflowClient  # slow to import

    client = MlflowClient(f"sqlite:///{copy.name}")
    experiment = client.get_experiment_by_name("whaleid")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder `name`, shared by all workers of a test run; the first worker that needs it builds it.

    Tests must not change it.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the base of a worker is a folder in the base of the run
        base = base.parent
    folder, stamp = base / name / "project", base / name / "built"
    with FileLock(base / f"{name}.lock"):
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            build(folder)
            stamp.touch()
    return folder


def make_reproduced(folder: Path) -> None:
    """Create a repository of the reduced project, commit it, run `dvc repro` and commit again."""
    init_repository(folder, REPRODUCED_PARAMS)
    keep_predictions(folder, *PREDICTIONS)
    for command in ("git add .", "git commit --quiet -m start", "dvc repro"):
        run(folder, *command.split(), XDG_CACHE_HOME=str(folder.with_name("cache")))
    for command in ("git add .", "git commit --quiet -m reproduced"):
        run(folder, *command.split())


def make_trained(folder: Path) -> None:
    """Run all stages that the prediction `final`, of two networks, needs in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        sample = {"frequent": 6, "occasional": 8, "single": 20, "new_whale": 20, "queries": 30}
        small = {"sample": sample, "boxes": {"steps": 40}, "backbone": {"name": "squeezenet1_1"}}
        write_params(Path(), {**small, **ensemble_params(epochs=3)})
        params = load(Path("params.yaml"))
        for name in ("sample", "catalog", "dedup", "split", "backbone", "boxes", "pack"):
            run_stage(name, params)
        for name in ("margin", "pairs", "final", "final_pairs"):
            run_variant(params, name)
        only = {name: params.predictions[name] for name in ("ensemble", "final")}
        params = params.model_copy(update={"predictions": only})
        run_stage("rank", params)
        run_stage("predict", params)
        run_stage("bundle", params, "final")


def run_variant(params: Params, name: str) -> None:
    """Train, embed and calibrate a variant in this process."""
    run_stage("train", params, name, lambda epoch, figures: None)
    run_stage("embed", params, name)
    run_stage("calibrate", params, name)


def run_stage(name: str, *arguments: object) -> "Record | None":
    """Run a stage in this process."""
    record: Record | None = importlib.import_module(f"whaleid.stages.{name}").run(*arguments)
    return record


def copy_project(destination: Path) -> None:
    """Copy the committed files that the pipeline needs: code, dvc.yaml and params.yaml."""
    (destination / ".dvc").mkdir()
    for name in (
        "whaleid",
        "dvc.yaml",
        "params.yaml",
        ".gitignore",
        ".dvcignore",
        ".dvc/config",
        ".dvc/.gitignore",
        ".dvc/plots",
    ):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, destination / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, destination / name)


def copy_repository(project: Path, folder: Path) -> Path:
    """Copy a repository with its runs and artifacts to `folder`, and return `folder`.

    Large files are hard-linked, which is fast. This is safe: the pipeline replaces them and never modifies them.
    """

    def link_or_copy(source: str, target: str) -> None:
        if Path(source).suffix in (".safetensors", ".npz") or ".dvc/cache" in source:
            os.link(source, target)
        else:
            shutil.copy2(source, target)

    shutil.copytree(project, folder, copy_function=link_or_copy)
    # MLflow's store contains absolute URIs of artifacts
    with closing(sqlite3.connect(folder / "mlflow.db")) as store, store:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (project.as_uri(), folder.as_uri()))
    return folder


def init_repository(folder: Path, changes: dict[str, object] | None = None) -> None:
    """Create a git and DVC repository of the reduced project; no stage has run."""
    copy_project(folder)
    write_params(folder, changes or {})
    for command in (
        "git init --quiet",
        "git config user.name tester",
        "git config user.email tester@example.org",
    ):
        run(folder, *command.split())


def run(folder: Path, *command: str, **environment: str) -> str:
    """Run a command as in an activated virtual environment, and return its output."""
    inherited = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name in ("WHALEID_TRACKING", "MLFLOW_TRACKING_URI", "DVC_ROOT"):
        inherited.pop(name, None)
    completed = subprocess.run(
        command,
        cwd=folder,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout
    return completed.stdout
