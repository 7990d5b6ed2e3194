"""What several test files need: a project folder of their own, with the real parameters at a sliver's size."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from whaleid import starting
from whaleid.config import Params, load

if TYPE_CHECKING:
    from mlflow.entities import Run

    from whaleid.core.record import Record

# as the command line does, before torch is loaded: else tests beside other work take ten times as long
starting.shorten_spins()
ROOT = Path(__file__).parents[1]
SLIVER = {
    "final": {"epochs": 2},
    "sample": {"frequent": 6, "occasional": 4, "single": 6, "new_whale": 8, "queries": 30},
    "pack": {"width": 48, "height": 24},
    "backbone": {"embedding": 32},
    "variants": {
        "toy": {"whales": 4, "epochs": 2, "batch": 16},
        "full": {"epochs": 2, "batch": 16},
        "threshold": {"epochs": 1, "batch": 16},
        "margin": {"epochs": 2, "batch": 16},
        "pairs": {"epochs": 2, "batch": 16},
    },
}
"""What makes the default pipeline small enough for a test: all of it runs, on few photos."""
STEPS = 60
"""In which the network that finds flukes learns here; it takes a minute or two for its own."""


def change(document: dict[str, object], changes: dict[str, object]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            section = document[key]
            assert isinstance(section, dict)
            change(section, value)
        else:
            document[key] = value


def write_params(folder: Path, changes: dict[str, object]) -> None:
    """Write the real parameters at a sliver's size, with further changes."""
    yaml = YAML()
    document = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    change(document, SLIVER)
    change(document, changes)
    yaml.dump(document, folder / "params.yaml")


def runs(folder: Path) -> "list[Run]":
    """Return every run in the project's MLflow store."""
    # MLflow keeps a store open for good, even one whose file was replaced: a copy under a new name is read anew
    with tempfile.NamedTemporaryFile(suffix=".db", delete=False) as copy:
        copy.write((folder / "mlflow.db").read_bytes())
    from mlflow.tracking import MlflowClient  # which most tests do without

    client = MlflowClient(f"sqlite:///{copy.name}")
    experiment = client.get_experiment_by_name("whaleid")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Params]:
    """Make an empty project folder, go there, and return a function that writes its `params.yaml` with changes."""
    monkeypatch.chdir(tmp_path)

    def write(**changes: object) -> Params:
        write_params(Path(), changes)
        return load(Path("params.yaml"))

    return write


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is known of photos in a folder of the test's own, that of processes that it starts as well."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project where all has run that `final` needs, on a sliver of which every photo has a box.

    It is shared: tests leave it as it is.
    """
    folder = tmp_path_factory.mktemp("trained")
    make_trained(folder)
    return folder


def make_trained(folder: Path) -> None:
    """Run all that `final` needs in `folder`, on a sliver of which every photo has a box."""
    from whaleid.core import paths
    from whaleid.detection import learning

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(learning, "STEPS", STEPS)
        learnt = {"init": "backbone", "epochs": 3}
        sample = {"frequent": 6, "occasional": 8, "single": 20, "new_whale": 20, "queries": 30}
        write_params(Path(), {"sample": sample, "variants": {"margin": learnt, "pairs": learnt}})
        params = load(Path("params.yaml"))
        for name in ("sample", "catalog", "dedup", "split", "backbone", "boxes", "pack"):
            stage(name, params)
        for name in params.ensemble:
            stage("train", params, name, lambda epoch, figures: None)
            stage("embed", params, name)
        stage("calibrate", params, paths.ENSEMBLE)
        stage("predict", params, paths.ENSEMBLE)
        for name in params.networks_of(paths.FINAL):
            stage("train", params, name, lambda epoch, figures: None)
            stage("embed", params, name)
        stage("predict", params, paths.FINAL)
        stage("bundle", params, paths.FINAL)


def stage(name: str, *arguments: object) -> "Record | None":
    """Run a stage here, in this process."""
    found: Record | None = importlib.import_module(f"whaleid.stages.{name}").run(*arguments)
    return found


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real photos, or skip."""
    folder = Path(os.environ.get("WHALEID_REAL_DATA", ROOT.parent / "shared/data/playground100"))
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}: set WHALEID_REAL_DATA")
    return folder.resolve()


def copy_project(destination: Path) -> None:
    """Copy what a commit holds: the code, the pipeline and its parameters; flukes are learnt in few steps."""
    (destination / ".dvc").mkdir()
    for name in ("whaleid", "dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, destination / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, destination / name)
    code = destination / "whaleid/detection/learning.py"
    text, found = re.subn(r"^STEPS = \d+$", f"STEPS = {STEPS}", code.read_text(encoding="utf-8"), flags=re.M)
    assert found == 1, code  # else every test that runs the stage takes minutes, and nobody notices
    code.write_text(text, encoding="utf-8")


def make_repository(folder: Path) -> None:
    """Make a repository of git and DVC of the project at a sliver's size, where nothing has run."""
    copy_project(folder)
    write_params(folder, {})
    for command in (
        "git init --quiet",
        "git config user.name tester",
        "git config user.email tester@example.org",
    ):
        run(folder, *command.split())


def run(folder: Path, *command: str, **environment: str) -> str:
    """Run a command as in an activated environment, and return all that it said."""
    known = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name in ("WHALEID_TRACKING", "MLFLOW_TRACKING_URI", "DVC_ROOT"):
        known.pop(name, None)
    ended = subprocess.run(
        command,
        cwd=folder,
        env=known | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout
