"""A team's shared services, set up by configuration alone: runs on an MLflow server, data and models in a bucket."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from helpers.project import PREDICTIONS, copy_repository, run
from helpers.servers import mlflow_server, s3_server
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

pytestmark = pytest.mark.slow
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "humpback", "AWS_SECRET_ACCESS_KEY": "only-in-the-environment"}


def bucket(store: str, name: str) -> Any:
    """Return a bucket of the store, accessed with the credentials."""
    credentials = {variable.lower(): value for variable, value in CREDENTIALS.items()}
    return boto3.resource("s3", endpoint_url=store, **credentials).Bucket(name)


@dataclass
class Team:
    """The addresses of the servers, and a repository in which the pipeline has run."""

    server: str
    store: str
    project: Path

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.server)

    def runs(self) -> dict[str, Run]:
        """Map the name of each child run to the run, and check that there is one parent and no other run."""
        experiment = self.client.get_experiment_by_name("whaleid")
        assert experiment is not None
        all_runs = self.client.search_runs([experiment.experiment_id])
        (parent,) = [tracked for tracked in all_runs if "mlflow.parentRunId" not in tracked.data.tags]
        children = [
            tracked for tracked in all_runs if tracked.data.tags.get("mlflow.parentRunId") == parent.info.run_id
        ]
        assert len(all_runs) == len(children) + 1
        assert {tracked.info.status for tracked in all_runs} == {"FINISHED"}
        return {tracked.info.run_name: tracked for tracked in children}

    def objects(self, name: str) -> dict[str, bytes]:
        """Map the key of each object in a bucket to its content."""
        return {item.key: item.get()["Body"].read() for item in bucket(self.store, name).objects.all()}


@pytest.fixture(scope="module")
def team(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Start the servers and run `predict` again. Only the MLflow server has the credentials of its bucket."""
    project = copy_repository(reproduced, tmp_path_factory.mktemp("team") / "project")
    for store in project.glob("ml*"):
        shutil.rmtree(store) if store.is_dir() else store.unlink()
    database = tmp_path_factory.mktemp("server") / "mlflow.db"
    empty = database.with_name("empty")
    empty.touch()
    with s3_server() as store, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in (
            "AWS_CONFIG_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
        ):  # hide the credentials of the person who runs this test
            patch.setenv(name, str(empty))
        bucket(store, "runs").create()
        bucket(store, "whales").create()
        artifacts = ("--artifacts-destination", "s3://runs/mlflow")
        with mlflow_server(f"sqlite:///{database}", *artifacts, MLFLOW_S3_ENDPOINT_URL=store, **CREDENTIALS) as server:
            run(project, "dvc", "repro", "--force", "--single-item", "predict", MLFLOW_TRACKING_URI=server)
            for command in (
                "dvc remote add --default store s3://whales/dvc",
                f"dvc remote modify store endpointurl {store}",
                "git commit --quiet --all -m shared",
            ):
                run(project, *command.split())
            yield Team(server, store, project)


def visible_files(folder: Path) -> dict[str, bytes]:
    """Map the path of each file in a project to its content, without hidden folders."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    hidden = {".git", ".dvc", "__pycache__"}
    return {path.as_posix(): (folder / path).read_bytes() for path in files if not hidden & set(path.parts)}


def test_a_clone_pulls_all_outputs_and_runs_no_stage(team: Team, tmp_path: Path) -> None:
    run(tmp_path, "git", "clone", "--quiet", str(team.project), "clone")
    clone = tmp_path / "clone"
    assert not (clone / "checkpoints" / "toy.safetensors").exists()
    with pytest.raises(AssertionError, match="Unable to locate credentials"):
        run(team.project, "dvc", "push")
    with pytest.raises(AssertionError, match="failed to pull"):
        run(clone, "dvc", "pull", **CREDENTIALS)
    assert team.objects("whales") == {}

    run(team.project, "dvc", "push", **CREDENTIALS)
    model = (team.project / "checkpoints" / "toy.safetensors").read_bytes()
    md5 = hashlib.md5(model).hexdigest()
    assert team.objects("whales")[f"dvc/files/md5/{md5[:2]}/{md5[2:]}"] == model

    run(clone, "dvc", "pull", **CREDENTIALS)
    assert visible_files(clone) == visible_files(team.project)
    before = set(team.runs())
    output = run(clone, "dvc", "repro", MLFLOW_TRACKING_URI=team.server)
    assert "Data and pipelines are up to date." in output
    assert "Running stage" not in output
    assert set(team.runs()) == before
    assert run(clone, "git", "status", "--porcelain") == ""
    assert {path.name for path in clone.glob("ml*")} == set()
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in (clone / ".dvc" / "config").read_text(encoding="utf-8")


def test_runs_are_only_on_the_server(team: Team) -> None:
    assert set(team.runs()) == {f"predict {name}" for name in PREDICTIONS}
    assert list(team.project.glob("ml*")) == []


def test_artifacts_are_stored_in_the_bucket_by_the_server(team: Team, tmp_path: Path) -> None:
    predicted = team.runs()["predict toy"].info
    assert predicted.artifact_uri.startswith("mlflow-artifacts:/")
    submission = (team.project / "submissions" / "toy.csv").read_bytes()
    downloaded = team.client.download_artifacts(predicted.run_id, "toy.csv", str(tmp_path))
    assert Path(downloaded).read_bytes() == submission
    key = f"mlflow/{predicted.experiment_id}/{predicted.run_id}/artifacts/toy.csv"
    assert team.objects("runs")[key] == submission
