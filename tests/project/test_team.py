"""What a team shares, by configuration alone: runs on an MLflow server, data and models in a bucket."""

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
KEY = {"AWS_ACCESS_KEY_ID": "humpback", "AWS_SECRET_ACCESS_KEY": "only-in-the-environment"}


def bucket(store: str, name: str) -> Any:
    """Return a bucket of the store, as one who has the key sees it."""
    key = {variable.lower(): value for variable, value in KEY.items()}
    return boto3.resource("s3", endpoint_url=store, **key).Bucket(name)


@dataclass
class Team:
    """The addresses of the servers, and the repository of one who reproduced the pipeline."""

    server: str
    store: str
    project: Path

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.server)

    def runs(self) -> dict[str, Run]:
        """Return the children of the one parent, by name, after a look that there are no other runs."""
        experiment = self.client.get_experiment_by_name("whaleid")
        assert experiment is not None
        found = self.client.search_runs([experiment.experiment_id])
        (parent,) = [each for each in found if "mlflow.parentRunId" not in each.data.tags]
        children = [each for each in found if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert len(found) == len(children) + 1
        assert {each.info.status for each in found} == {"FINISHED"}
        return {each.info.run_name: each for each in children}

    def objects(self, name: str) -> dict[str, bytes]:
        """Return what a bucket holds."""
        return {each.key: each.get()["Body"].read() for each in bucket(self.store, name).objects.all()}


@pytest.fixture(scope="module")
def team(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Start the servers and predict once more: MLflow's server alone has the key to its bucket."""
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
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):  # no keys of whoever runs this test
            patch.setenv(name, str(empty))
        bucket(store, "runs").create()
        bucket(store, "whales").create()
        artifacts = ("--artifacts-destination", "s3://runs/mlflow")
        with mlflow_server(f"sqlite:///{database}", *artifacts, MLFLOW_S3_ENDPOINT_URL=store, **KEY) as server:
            run(project, "dvc", "repro", "--force", "--single-item", "predict", MLFLOW_TRACKING_URI=server)
            for command in (
                "dvc remote add --default store s3://whales/dvc",
                f"dvc remote modify store endpointurl {store}",
                "git commit --quiet --all -m shared",
            ):
                run(project, *command.split())
            yield Team(server, store, project)


def files(folder: Path) -> dict[str, bytes]:
    """Return all that a person sees in a project's folder."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    hidden = {".git", ".dvc", "__pycache__"}
    return {path.as_posix(): (folder / path).read_bytes() for path in paths if not hidden & set(path.parts)}


def test_a_clone_gets_what_was_pushed_and_has_nothing_to_run(team: Team, tmp_path: Path) -> None:
    run(tmp_path, "git", "clone", "--quiet", str(team.project), "clone")
    clone = tmp_path / "clone"
    assert not (clone / "checkpoints" / "toy.safetensors").exists()
    with pytest.raises(AssertionError, match="Unable to locate credentials"):
        run(team.project, "dvc", "push")
    with pytest.raises(AssertionError, match="failed to pull"):
        run(clone, "dvc", "pull", **KEY)
    assert team.objects("whales") == {}

    run(team.project, "dvc", "push", **KEY)
    model = (team.project / "checkpoints" / "toy.safetensors").read_bytes()
    md5 = hashlib.md5(model).hexdigest()
    assert team.objects("whales")[f"dvc/files/md5/{md5[:2]}/{md5[2:]}"] == model

    run(clone, "dvc", "pull", **KEY)
    assert files(clone) == files(team.project)
    before = set(team.runs())
    said = run(clone, "dvc", "repro", MLFLOW_TRACKING_URI=team.server)
    assert "Data and pipelines are up to date." in said
    assert "Running stage" not in said
    assert set(team.runs()) == before
    assert run(clone, "git", "status", "--porcelain") == ""
    assert {path.name for path in clone.glob("ml*")} == set()
    assert KEY["AWS_SECRET_ACCESS_KEY"] not in (clone / ".dvc" / "config").read_text(encoding="utf-8")


def test_runs_are_on_the_server_and_nowhere_else(team: Team) -> None:
    assert set(team.runs()) == {f"predict {name}" for name in PREDICTIONS}
    assert list(team.project.glob("ml*")) == []


def test_artifacts_go_through_the_server_into_its_bucket(team: Team, tmp_path: Path) -> None:
    predicted = team.runs()["predict toy"].info
    assert predicted.artifact_uri.startswith("mlflow-artifacts:/")
    submission = (team.project / "submissions" / "toy.csv").read_bytes()
    got = team.client.download_artifacts(predicted.run_id, "toy.csv", str(tmp_path))
    assert Path(got).read_bytes() == submission
    place = f"mlflow/{predicted.experiment_id}/{predicted.run_id}/artifacts/toy.csv"
    assert team.objects("runs")[place] == submission
