"""The three main workflows with real DVC and MLflow: `dvc repro`, browsing runs, `dvc exp run -S threshold=…`."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from helpers.project import PREDICTIONS, copy_repository, run, runs
from helpers.repository import STAGE_STARTED, differing_files, digests
from mlflow.entities import Run
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow
VALIDATED = ["toy", "margin"]
VARIANTS = [*VALIDATED, "final"]
MAX_WIDTH = 120
"""Maximum width of DVC's tables, in characters: the width of a terminal."""


def stage_and_variant(run: Run) -> tuple[str, str]:
    return run.data.tags["whaleid.stage"], run.data.tags.get("whaleid.variant", "")


def executed_stages(output: str) -> list[str]:
    """Return the stages that DVC ran, in order."""
    return [match[1] for line in output.splitlines() if (match := STAGE_STARTED.match(line))]


def max_width(output: str) -> int:
    return max(len(line.rstrip()) for line in output.splitlines())


def parent_run(all_runs: list[Run]) -> Run:
    """Return the only parent run; all other runs must be its children."""
    (parent,) = [tracked for tracked in all_runs if "mlflow.parentRunId" not in tracked.data.tags]
    assert {tracked.data.tags["mlflow.parentRunId"] for tracked in all_runs if tracked is not parent} == {
        parent.info.run_id
    }
    return parent


def artifacts(run: Run) -> dict[str, bytes]:
    """Map the path of each artifact of a run to its content."""
    root = Path(urlsplit(run.info.artifact_uri).path)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def project(reproduced: Path, tmp_path: Path) -> Path:
    """A separate repository where the pipeline has run and everything is committed."""
    return copy_repository(reproduced, tmp_path / "project")


@pytest.fixture
def uncommitted(project: Path) -> Path:
    """The same repository with uncommitted results of the pipeline."""
    run(project, "git", "reset", "--quiet", "HEAD~1")
    return project


def test_a_second_repro_runs_no_stage_also_in_a_clean_clone(project: Path, tmp_path: Path) -> None:
    before = len(runs(project))
    output = run(project, "dvc", "repro")
    assert "Data and pipelines are up to date." in output
    assert "Running stage" not in output
    assert len(runs(project)) == before
    assert run(project, "git", "status", "--porcelain") == ""
    run(tmp_path, "git", "clone", "--quiet", str(project), "clone")
    assert "Running stage" not in run(tmp_path / "clone", "dvc", "repro", "--dry", "--allow-missing")


def test_stages_are_nested_in_one_parent_and_linked_by_content(reproduced: Path) -> None:
    all_runs = runs(reproduced)
    parent = parent_run(all_runs)
    children = {stage_and_variant(tracked): tracked for tracked in all_runs if tracked is not parent}
    assert len(children) == len(all_runs) - 1
    assert children.keys() == {
        *((stage, "") for stage in ("explore", "dedup", "split", "boxes")),
        *((stage, variant) for stage in ("train", "embed") for variant in VARIANTS),
        *(("calibrate", prediction) for prediction in (*VALIDATED, "ensemble")),
        *(("predict", prediction) for prediction in PREDICTIONS),
    }
    assert {tracked.info.status for tracked in all_runs} == {"FINISHED"}
    start = run(reproduced, "git", "rev-parse", "HEAD~1").strip()
    assert parent.info.run_name == f"dvc repro {start[:7]}"
    assert parent.data.metrics.keys() == {
        "map5",
        *(f"{key}.{name}" for key in ("map5", "map5_known") for name in ("phash", *VALIDATED, "ensemble")),
        *(f"threshold.{prediction}" for prediction in (*VARIANTS, "ensemble")),
        *(f"solution_map5.{prediction}" for prediction in PREDICTIONS),
    }
    trained = children["train", "margin"]
    assert trained.data.tags["input.checkpoints/toy.safetensors"] == children["train", "toy"].info.run_id
    assert children["embed", "margin"].data.tags["input.checkpoints/margin.safetensors"] == trained.info.run_id
    calibrated = children["calibrate", "margin"]
    assert calibrated.data.tags["input.features/margin.npz"] == children["embed", "margin"].info.run_id
    predicted = children["predict", "margin"]
    assert predicted.data.tags["input.calibrations/margin/decision.json"] == calibrated.info.run_id
    assert predicted.data.tags["input.features/margin.npz"] == children["embed", "margin"].info.run_id
    final = children["predict", "final"]
    assert final.data.tags["input.calibrations/margin/decision.json"] == children["calibrate", "margin"].info.run_id
    assert trained.data.params["init"] == "toy"
    assert trained.data.metrics["loss"] > 0
    assert children["predict", "toy"].data.metrics["map5"] > 0


def test_the_page_of_a_prediction_is_an_artifact_of_its_calibration(reproduced: Path) -> None:
    by_stage = {stage_and_variant(tracked): tracked for tracked in runs(reproduced)}
    writers = {
        "phash": ("dedup", ""),
        **{name: ("calibrate", name) for name in (*VALIDATED, "ensemble")},
        "final": ("calibrate", "margin"),
    }
    for name, writer in writers.items():
        writer_run = by_stage[writer].info
        assert (
            artifacts(by_stage[writer])[f"{name}.html"] == (reproduced / "reports/pages" / f"{name}.html").read_bytes()
        )
        assert by_stage["predict", name].data.tags["mlflow.note.content"] == (
            "[Page of this prediction: thresholds, curves, contact sheets]"
            f"(#/experiments/{writer_run.experiment_id}/runs/{writer_run.run_id}/artifacts/{name}.html)"
        )


def test_a_threshold_reruns_only_predict(project: Path) -> None:
    before = {tracked.info.run_id for tracked in runs(project)}
    output = run(project, "dvc", "exp", "run", "-S", "threshold=0.2")
    assert executed_stages(output) == ["predict"]
    new = [tracked for tracked in runs(project) if tracked.info.run_id not in before]
    parent = parent_run(new)
    experiment = parent.data.tags["dvc.experiment"]
    assert parent.info.run_name == f"threshold=0.2 ({experiment})"
    predictions = {tracked.data.params["variant"]: tracked for tracked in new if tracked is not parent}
    assert predictions.keys() == {*PREDICTIONS}
    for name, tracked in predictions.items():
        assert stage_and_variant(tracked) == ("predict", name)
        assert tracked.info.run_name == f"predict {name} at 0.2"
        assert tracked.data.params["threshold"] == "0.2"
        files = artifacts(tracked)
        assert files[f"{name}.csv"] == (project / "submissions" / f"{name}.csv").read_bytes()
        if name == "phash":  # phash has no probabilities
            assert "threshold" not in tracked.data.metrics
            assert files.keys() == {"phash.csv", "phash.json"}
        else:
            assert tracked.data.metrics["threshold"] == 0.2
            assert files.keys() == {f"{name}.csv", f"{name}.json", f"{name}.png"}
            assert files[f"{name}.png"].startswith(b"\x89PNG")
        if name not in ("phash", "final"):
            assert {"map5", "map5_known", "map5_unknown", "auroc"} <= tracked.data.metrics.keys()
    for name in ("phash", *VALIDATED, "ensemble"):
        assert parent.data.metrics[f"map5.{name}"] == predictions[name].data.metrics["map5"]

    environment = {"COLUMNS": "1000"}  # DVC does not truncate its tables
    metrics = run(project, "dvc", "metrics", "show", **environment)
    assert max_width(metrics) <= MAX_WIDTH
    difference = run(project, "dvc", "metrics", "diff", **environment)
    assert max_width(difference) <= MAX_WIDTH
    experiments = run(project, "dvc", "exp", "show", "--only-changed", "--no-pager", **environment)
    assert max_width(experiments) <= MAX_WIDTH
    for table in (metrics, difference, experiments):
        assert all(f"{name} 0.200" in table for name in PREDICTIONS[1:]), table
        assert "final unvalidated" in table or table is difference
    assert experiment in experiments


@pytest.mark.long
def test_a_queue_of_thresholds_logs_every_run_also_in_a_new_store(project: Path) -> None:
    for path in project.glob("mlflow.db*"):
        path.unlink()
    run(project, "dvc", "exp", "run", "--queue", "-S", "threshold=0.1,0.2,0.3")
    run(project, "dvc", "queue", "start", "--jobs", "2")
    deadline = time.monotonic() + 300
    while "Worker status: 0 active" not in (status := run(project, "dvc", "queue", "status")) or "Queued" in status:
        assert time.monotonic() < deadline, status
        time.sleep(2)
    assert status.count("Success") == 3, status
    all_runs = runs(project)
    predictions = [tracked for tracked in all_runs if stage_and_variant(tracked)[0] == "predict"]
    assert sorted(
        (tracked.data.params["variant"], tracked.data.params["threshold"]) for tracked in predictions
    ) == sorted((prediction, value) for prediction in PREDICTIONS for value in ("0.1", "0.2", "0.3"))
    assert {tracked.data.metrics["threshold"] for tracked in predictions if stage_and_variant(tracked)[1] == "toy"} == {
        0.1,
        0.2,
        0.3,
    }
    assert {tracked.info.status for tracked in all_runs} == {"FINISHED"}
    parents = {tracked.info.run_id: tracked for tracked in all_runs if tracked not in predictions}
    names = sorted(tracked.info.run_name.split()[0] for tracked in parents.values())
    assert names == ["threshold=0.1", "threshold=0.2", "threshold=0.3"]
    for tracked in predictions:
        threshold = tracked.data.params["threshold"]
        assert parents[tracked.data.tags["mlflow.parentRunId"]].info.run_name.startswith(f"threshold={threshold} (")
    table = run(project, "dvc", "exp", "show", "--csv")
    assert "threshold" in table
    assert table.count("toy 0.300") == 1


def test_dvc_shows_the_plots(project: Path) -> None:
    run(project, "dvc", "plots", "show", "--out", "plots")
    page = (project / "plots" / "index.html").read_text(encoding="utf-8")
    for title in (
        "MAP@5 on validation by threshold",
        "MAP@5 by share of queries of no known whale",
        "Share of queries that are right by probability",
        "Training loss by epoch",
        "photos_per_whale",
    ):
        assert title in page


@pytest.mark.long
def test_another_loss_runs_only_the_stages_of_its_variant(project: Path) -> None:
    before = {tracked.info.run_id for tracked in runs(project)}
    output = run(project, "dvc", "exp", "run", "-S", "variants.margin.train.loss.kind=arcface", "calibrate@margin")
    assert executed_stages(output) == ["train@margin", "embed@margin", "calibrate@margin"]
    new = [tracked for tracked in runs(project) if tracked.info.run_id not in before]
    parent = parent_run(new)
    assert parent.info.run_name.startswith("variants.margin.train.loss.kind=arcface (")
    assert {stage_and_variant(tracked) for tracked in new if tracked is not parent} == {
        (stage, "margin") for stage in ("train", "embed", "calibrate")
    }


@pytest.mark.long
def test_a_threshold_can_be_reverted_without_a_commit(uncommitted: Path) -> None:
    project = uncommitted
    before = digests(project)
    assert executed_stages(run(project, "dvc", "exp", "run", "-S", "threshold=0.2")) == ["predict"]
    changed = digests(project)
    assert before.keys() == changed.keys()
    assert "reports/figures/toy.json" in differing_files(before, changed)
    assert executed_stages(run(project, "dvc", "exp", "run", "-S", "threshold=auto")) == ["predict"]
    assert differing_files(before, digests(project)) == []
    assert set(executed_stages(run(project, "dvc", "repro"))) <= {"predict"}
    assert differing_files(before, digests(project)) == []


@pytest.mark.long
def test_a_variant_and_a_prediction_are_added_by_parameters_alone(uncommitted: Path) -> None:
    project = uncommitted
    before = {tracked.info.run_id for tracked in runs(project)}
    yaml, path = YAML(), project / "params.yaml"
    document = yaml.load(path.read_text(encoding="utf-8"))
    document["predictions"] |= {"trio": {"networks": ["toy", "margin", "quick"]}, "quick": {"networks": ["quick"]}}
    toy = document["variants"]["toy"]
    document["variants"]["quick"] = {**toy, "train": {**toy["train"], "epochs": 1}}
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    assert set(executed_stages(run(project, "dvc", "repro"))) == {
        *("train@quick", "embed@quick", "calibrate@quick", "rank", "predict", "report", "bundle")
    }
    for name in ("trio", "quick"):
        queries = (project / "submissions" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        assert queries[0] == "Image,Id"
        assert len(queries) == 1 + len(list((project / "data/sample/test").iterdir()))
        assert (project / "reports/pages" / f"{name}.html").exists()
        assert (project / "reports/curves" / f"{name}.png").exists()
    new = {tracked.info.run_name: tracked for tracked in runs(project) if tracked.info.run_id not in before}
    parent = parent_run([*new.values()])
    assert re.fullmatch(r"dvc repro \w{7} \d+ parameters", parent.info.run_name)
    assert new.keys() - {parent.info.run_name} == {
        *("train quick", "embed quick", "calibrate quick", "calibrate ensemble", "calibrate trio"),
        *(f"predict {name}" for name in (*PREDICTIONS, "trio", "quick")),
    }
    assert new["predict trio"].data.metrics["map5"] == parent.data.metrics["map5.trio"] > 0
    assert "trio.html" in artifacts(new["calibrate trio"])
    table = (project / "reports/metrics.json").read_text(encoding="utf-8")
    assert "trio 0." in table


def test_the_previous_output_of_a_failed_stage_can_be_restored(project: Path) -> None:
    before = (project / "data/catalog.csv").read_bytes()
    photo = next((project / "data/sample/test").iterdir())
    content = photo.read_bytes()
    photo.unlink()
    photo.write_bytes(content[:200])
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["dvc", "repro", "--single-item", "catalog"]
    process = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode != 0
    assert photo.name in process.stderr
    photo.write_bytes(content)
    run(project, "dvc", "checkout", "--force", "--quiet")
    assert (project / "data/catalog.csv").read_bytes() == before
