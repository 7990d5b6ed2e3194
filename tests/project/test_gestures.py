"""The three gestures, with DVC and MLflow themselves: `dvc repro`, runs to browse, `dvc exp run -S threshold=…`."""

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
COLUMNS = 120
"""Of a terminal: as wide as what DVC shows may be."""


def stage_of(run: Run) -> tuple[str, str]:
    return run.data.tags["whaleid.stage"], run.data.tags.get("whaleid.variant", "")


def ran(said: str) -> list[str]:
    """Return the stages that DVC ran, in their order."""
    return [found[1] for line in said.splitlines() if (found := STAGE_STARTED.match(line))]


def widest(said: str) -> int:
    return max(len(line.rstrip()) for line in said.splitlines())


def parent_of(found: list[Run]) -> Run:
    """Return the one parent of runs, among them."""
    (parent,) = [each for each in found if "mlflow.parentRunId" not in each.data.tags]
    assert {each.data.tags["mlflow.parentRunId"] for each in found if each is not parent} == {parent.info.run_id}
    return parent


def artifacts(run: Run) -> dict[str, bytes]:
    """Return the files that a run has, by name."""
    place = Path(urlsplit(run.info.artifact_uri).path)
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.fixture
def project(reproduced: Path, tmp_path: Path) -> Path:
    """A repository of the test's own where the pipeline has run, all committed."""
    return copy_repository(reproduced, tmp_path / "project")


@pytest.fixture
def uncommitted(project: Path) -> Path:
    """The same, where what came of the pipeline is not committed."""
    run(project, "git", "reset", "--quiet", "HEAD~1")
    return project


def test_repro_again_does_nothing_nor_in_a_clean_clone(project: Path, tmp_path: Path) -> None:
    before = len(runs(project))
    said = run(project, "dvc", "repro")
    assert "Data and pipelines are up to date." in said
    assert "Running stage" not in said
    assert len(runs(project)) == before
    assert run(project, "git", "status", "--porcelain") == ""
    run(tmp_path, "git", "clone", "--quiet", str(project), "clone")
    assert "Running stage" not in run(tmp_path / "clone", "dvc", "repro", "--dry", "--allow-missing")


def test_stages_are_nested_in_one_parent_and_linked_by_content(reproduced: Path) -> None:
    found = runs(reproduced)
    parent = parent_of(found)
    children = {stage_of(each): each for each in found if each is not parent}
    assert len(children) == len(found) - 1
    assert children.keys() == {
        *((stage, "") for stage in ("explore", "dedup", "split", "boxes")),
        *((stage, variant) for stage in ("train", "embed") for variant in VARIANTS),
        *(("calibrate", prediction) for prediction in (*VALIDATED, "ensemble")),
        *(("predict", prediction) for prediction in PREDICTIONS),
    }
    assert {each.info.status for each in found} == {"FINISHED"}
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


def test_the_page_of_a_prediction_is_with_what_calibrated_it(reproduced: Path) -> None:
    found = {stage_of(each): each for each in runs(reproduced)}
    writers = {
        "phash": ("dedup", ""),
        **{name: ("calibrate", name) for name in (*VALIDATED, "ensemble")},
        "final": ("calibrate", "margin"),
    }
    for name, writer in writers.items():
        home = found[writer].info
        assert artifacts(found[writer])[f"{name}.html"] == (reproduced / "reports/pages" / f"{name}.html").read_bytes()
        assert found["predict", name].data.tags["mlflow.note.content"] == (
            "[Page of this prediction: thresholds, curves, contact sheets]"
            f"(#/experiments/{home.experiment_id}/runs/{home.run_id}/artifacts/{name}.html)"
        )


def test_a_threshold_reruns_predict_alone(project: Path) -> None:
    before = {each.info.run_id for each in runs(project)}
    said = run(project, "dvc", "exp", "run", "-S", "threshold=0.2")
    assert ran(said) == ["predict"]
    new = [each for each in runs(project) if each.info.run_id not in before]
    parent = parent_of(new)
    experiment = parent.data.tags["dvc.experiment"]
    assert parent.info.run_name == f"threshold=0.2 ({experiment})"
    found = {each.data.params["variant"]: each for each in new if each is not parent}
    assert found.keys() == {*PREDICTIONS}
    for name, each in found.items():
        assert stage_of(each) == ("predict", name)
        assert each.info.run_name == f"predict {name} at 0.2"
        assert each.data.params["threshold"] == "0.2"
        kept = artifacts(each)
        assert kept[f"{name}.csv"] == (project / "submissions" / f"{name}.csv").read_bytes()
        if name == "phash":  # it has no probabilities
            assert "threshold" not in each.data.metrics
            assert kept.keys() == {"phash.csv", "phash.json"}
        else:
            assert each.data.metrics["threshold"] == 0.2
            assert kept.keys() == {f"{name}.csv", f"{name}.json", f"{name}.png"}
            assert kept[f"{name}.png"].startswith(b"\x89PNG")
        if name not in ("phash", "final"):
            assert {"map5", "map5_known", "map5_unknown", "auroc"} <= each.data.metrics.keys()
    for name in ("phash", *VALIDATED, "ensemble"):
        assert parent.data.metrics[f"map5.{name}"] == found[name].data.metrics["map5"]

    wide = {"COLUMNS": "1000"}  # nothing is cut off
    shown = run(project, "dvc", "metrics", "show", **wide)
    assert widest(shown) <= COLUMNS
    difference = run(project, "dvc", "metrics", "diff", **wide)
    assert widest(difference) <= COLUMNS
    experiments = run(project, "dvc", "exp", "show", "--only-changed", "--no-pager", **wide)
    assert widest(experiments) <= COLUMNS
    for table in (shown, difference, experiments):
        assert all(f"{name} 0.200" in table for name in PREDICTIONS[1:]), table
        assert "final unvalidated" in table or table is difference
    assert experiment in experiments


@pytest.mark.long
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
    left = runs(project)
    found = [each for each in left if stage_of(each)[0] == "predict"]
    assert sorted((each.data.params["variant"], each.data.params["threshold"]) for each in found) == sorted(
        (prediction, value) for prediction in PREDICTIONS for value in ("0.1", "0.2", "0.3")
    )
    assert {each.data.metrics["threshold"] for each in found if stage_of(each)[1] == "toy"} == {0.1, 0.2, 0.3}
    assert {each.info.status for each in left} == {"FINISHED"}
    parents = {each.info.run_id: each for each in left if each not in found}
    names = sorted(each.info.run_name.split()[0] for each in parents.values())
    assert names == ["threshold=0.1", "threshold=0.2", "threshold=0.3"]
    for each in found:
        threshold = each.data.params["threshold"]
        assert parents[each.data.tags["mlflow.parentRunId"]].info.run_name.startswith(f"threshold={threshold} (")
    shown = run(project, "dvc", "exp", "show", "--csv")
    assert "threshold" in shown
    assert shown.count("toy 0.300") == 1


def test_plots_are_drawn(project: Path) -> None:
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
def test_another_loss_runs_the_stages_of_its_variant_alone(project: Path) -> None:
    before = {each.info.run_id for each in runs(project)}
    said = run(project, "dvc", "exp", "run", "-S", "variants.margin.train.loss.kind=arcface", "calibrate@margin")
    assert ran(said) == ["train@margin", "embed@margin", "calibrate@margin"]
    new = [each for each in runs(project) if each.info.run_id not in before]
    parent = parent_of(new)
    assert parent.info.run_name.startswith("variants.margin.train.loss.kind=arcface (")
    assert {stage_of(each) for each in new if each is not parent} == {
        (stage, "margin") for stage in ("train", "embed", "calibrate")
    }


@pytest.mark.long
def test_the_way_back_from_a_threshold_needs_no_commit(uncommitted: Path) -> None:
    project = uncommitted
    before = digests(project)
    assert ran(run(project, "dvc", "exp", "run", "-S", "threshold=0.2")) == ["predict"]
    there = digests(project)
    assert before.keys() == there.keys()
    assert "reports/figures/toy.json" in differing_files(before, there)
    assert ran(run(project, "dvc", "exp", "run", "-S", "threshold=auto")) == ["predict"]
    assert differing_files(before, digests(project)) == []
    assert set(ran(run(project, "dvc", "repro"))) <= {"predict"}
    assert differing_files(before, digests(project)) == []


@pytest.mark.long
def test_a_variant_and_a_prediction_are_added_in_the_parameters_alone(uncommitted: Path) -> None:
    project = uncommitted
    before = {each.info.run_id for each in runs(project)}
    yaml, path = YAML(), project / "params.yaml"
    document = yaml.load(path.read_text(encoding="utf-8"))
    document["predictions"] |= {"trio": {"networks": ["toy", "margin", "quick"]}, "quick": {"networks": ["quick"]}}
    toy = document["variants"]["toy"]
    document["variants"]["quick"] = {**toy, "train": {**toy["train"], "epochs": 1}}
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    assert set(ran(run(project, "dvc", "repro"))) == {
        *("train@quick", "embed@quick", "calibrate@quick", "rank", "predict", "report", "bundle")
    }
    for name in ("trio", "quick"):
        queries = (project / "submissions" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        assert queries[0] == "Image,Id"
        assert len(queries) == 1 + len(list((project / "data/sample/test").iterdir()))
        assert (project / "reports/pages" / f"{name}.html").exists()
        assert (project / "reports/curves" / f"{name}.png").exists()
    new = {each.info.run_name: each for each in runs(project) if each.info.run_id not in before}
    parent = parent_of([*new.values()])
    assert re.fullmatch(r"dvc repro \w{7} \d+ parameters", parent.info.run_name)
    assert new.keys() - {parent.info.run_name} == {
        *("train quick", "embed quick", "calibrate quick", "calibrate ensemble", "calibrate trio"),
        *(f"predict {name}" for name in (*PREDICTIONS, "trio", "quick")),
    }
    assert new["predict trio"].data.metrics["map5"] == parent.data.metrics["map5.trio"] > 0
    assert "trio.html" in artifacts(new["calibrate trio"])
    table = (project / "reports/metrics.json").read_text(encoding="utf-8")
    assert "trio 0." in table


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
