"""The three gestures, with DVC and MLflow themselves: `dvc repro`, runs to browse, `dvc exp run -S threshold=…`."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import make_repository, run, runs
from mlflow.entities import Run

pytestmark = pytest.mark.slow
VARIANTS = {"toy", "full", "threshold", "margin", "pairs"}
DECIDED = VARIANTS | {"ensemble", "final"}


def stage_of(run: Run) -> tuple[str, str]:
    return run.data.tags["whaleid.stage"], run.data.tags.get("whaleid.variant", "")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository of the project at a sliver's size, reproduced once and committed."""
    folder = tmp_path_factory.mktemp("project")
    make_repository(folder)
    for command in ("dvc repro", "git add .", "git commit --quiet -m reproduced"):
        run(folder, *command.split())
    return folder


def test_repro_again_does_nothing(project: Path) -> None:
    before = len(runs(project))
    said = run(project, "dvc", "repro")
    assert "Data and pipelines are up to date." in said
    assert "Running stage" not in said
    assert len(runs(project)) == before
    assert run(project, "git", "status", "--porcelain") == ""


def test_a_clean_clone_sees_that_the_lock_fits_the_code(project: Path, tmp_path: Path) -> None:
    run(tmp_path, "git", "clone", "--quiet", str(project), "clone")
    assert "Running stage" not in run(tmp_path / "clone", "dvc", "repro", "--dry", "--allow-missing")


def test_stages_are_nested_in_one_parent_and_linked_by_content(project: Path) -> None:
    # the runs of the experiments of other tests have another parent
    found = [each for each in runs(project) if "dvc.experiment" not in each.data.tags]
    (parent,) = [each for each in found if "mlflow.parentRunId" not in each.data.tags]
    children = {stage_of(each): each for each in found if each is not parent}
    assert len(children) == len(found) - 1
    assert {stage_of(each) for each in children.values()} >= {
        ("explore", ""),
        ("dedup", ""),
        ("predict", "phash"),
        *((stage, variant) for stage in ("train", "calibrate", "predict") for variant in VARIANTS),
    }
    assert {each.data.tags["mlflow.parentRunId"] for each in children.values()} == {parent.info.run_id}
    trained = children["train", "full"]
    assert trained.data.tags["input.models/toy.pt"] == children["train", "toy"].info.run_id
    embedded = children["predict", "full"].data.tags["input.features/full.npz"]
    assert embedded == children["embed", "full"].info.run_id
    assert children["embed", "full"].data.tags["input.models/full.pt"] == trained.info.run_id
    calibrated = children["predict", "full"].data.tags["input.models/full.calibration.json"]
    assert calibrated == children["calibrate", "full"].info.run_id
    assert trained.data.params["init"] == "toy"
    assert trained.data.metrics["loss"] > 0
    assert children["predict", "threshold"].data.metrics["map5"] > 0
    assert {each.info.status for each in found} == {"FINISHED"}


def test_a_threshold_reruns_the_predict_stages_alone(project: Path) -> None:
    before = {each.info.run_id for each in runs(project)}
    said = run(project, "dvc", "exp", "run", "-S", "threshold=0.2")
    ran = {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")}
    assert ran == {f"predict@{variant}" for variant in VARIANTS} | {"predict-ensemble", "predict-final"}
    new = [each for each in runs(project) if each.info.run_id not in before]
    found = {each.data.params["variant"]: each for each in new if stage_of(each)[0] == "predict"}
    assert found.keys() == DECIDED
    assert {each.data.metrics["threshold"] for each in found.values()} == {0.2}
    assert len(new) == len(found) + 1  # and their parent
    difference = run(project, "dvc", "metrics", "diff")
    assert "reports/threshold/metrics.json" in difference
    assert "threshold" in difference
    run(project, "git", "checkout", "--quiet", ".")
    run(project, "dvc", "checkout", "--quiet")


def test_a_queue_of_thresholds_leaves_every_run_also_in_a_fresh_store(project: Path) -> None:
    for made in project.glob("mlflow.db*"):
        made.unlink()
    run(project, "dvc", "exp", "run", "--queue", "-S", "threshold=0.1,0.2,0.3")
    run(project, "dvc", "queue", "start", "--jobs", "2")
    deadline = time.monotonic() + 300
    while "Worker status: 0 active" not in (status := run(project, "dvc", "queue", "status")) or "Queued" in status:
        assert time.monotonic() < deadline, status
        time.sleep(2)
    assert status.count("Success") == 3, status
    found = [each for each in runs(project) if stage_of(each)[0] == "predict"]
    left = sorted((each.data.params["variant"], each.data.metrics["threshold"]) for each in found)
    assert left == sorted((variant, value) for variant in DECIDED for value in (0.1, 0.2, 0.3))
    assert {each.info.status for each in found} == {"FINISHED"}
    shown = run(project, "dvc", "exp", "show", "--csv")
    assert "threshold" in shown
    assert shown.count("reports/threshold/metrics.json:map5") >= 1


def test_plots_are_drawn(project: Path) -> None:
    run(project, "dvc", "plots", "show", "--out", "plots")
    page = (project / "plots" / "index.html").read_text(encoding="utf-8")
    for title in ("MAP@5 by threshold", "Training loss by epoch", "photos_per_whale"):
        assert title in page


def test_a_stage_that_fails_leaves_the_last_whole_output_within_reach(project: Path) -> None:
    before = (project / "data/catalog.csv").read_bytes()
    photo = next((project / "data/sample/test").iterdir())
    whole = photo.read_bytes()
    photo.unlink()
    photo.write_bytes(whole[:200])
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["dvc", "repro", "--single-item", "catalog"]
    ended = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert photo.name in ended.stderr
    photo.write_bytes(whole)
    run(project, "dvc", "checkout", "--force", "--quiet")
    assert (project / "data/catalog.csv").read_bytes() == before
