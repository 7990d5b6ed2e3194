"""MLflow stores that fail: commands retry or report an error in limited time; the store stays consistent."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults.proxy import Fault, Proxy, proxy
from helpers.servers import mlflow_server
from mlflow.tracking import MlflowClient

from whaleid import tracking
from whaleid.core.errors import WhaleidError
from whaleid.core.record import Record
from whaleid.serving import about as description
from whaleid.serving import registry

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "mlflow.db"


@pytest.fixture(scope="module")
def server(database: Path) -> Iterator[Proxy]:
    with mlflow_server(f"sqlite:///{database}") as address, proxy(address) as state:
        yield state


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, a separate project whose runs have their own parent run."""
    for name in ("WHALEID_TRACKING", "MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"here: {tmp_path}\n")
    return tmp_path


@pytest.fixture
def server_proxy(server: Proxy, project: Path, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """The proxy between the project and its MLflow server, without a fault."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    server.set("none")
    return server


def run_stage(stage: str) -> None:
    """Log two epochs, metrics, an artifact and a dataset, as a stage does."""
    with tracking.run(stage) as run:
        for epoch in (1, 2):
            run.log_epoch(epoch, {"loss": 1 / epoch})
        manifest = Path("params.yaml")
        run.log({None: Record(params={"n": 1}, metrics={"map5": 0.5}, artifacts=[manifest], dataset=manifest)})


PARENT_COUNT = """
select count(*) from runs join tags using (run_uuid)
where key = 'whaleid.stage' and value = 'pipeline' and lifecycle_stage = 'active' and run_uuid in (
    select run_uuid from tags where key = 'whaleid.key' and value in (
        select value from tags where key = 'whaleid.key' and run_uuid in (
            select run_uuid from tags where key = 'whaleid.stage' and value = ?)))
"""
"""SQL: count the parent runs of the pipeline execution of a stage's runs. Each project here is one execution."""


def run_facts(database: Path, stage: str) -> tuple[list[str], int, int]:
    """Return the statuses of the stage's runs, the number of parent runs, and the maximum number of metrics of a
    run."""
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        runs = connection.execute(
            "select run_uuid, status from runs join tags using (run_uuid) where key = 'whaleid.stage' and value = ?",
            [stage],
        ).fetchall()
        [[parents]] = connection.execute(PARENT_COUNT, [stage])
        count = "select count(*) from metrics where run_uuid = ?"
        counts = [int(connection.execute(count, [run]).fetchone()[0]) for run, _ in runs]
    return sorted(status for _, status in runs), parents, max(counts, default=0)


@pytest.mark.parametrize("fault", ["lost", "500"])
@pytest.mark.parametrize("path_part", ["runs/create", "log-batch", "log-inputs", "artifacts", "runs/update"])
def test_one_failed_response_is_retried_and_logs_nothing_twice(
    database: Path, server_proxy: Proxy, project: Path, fault: Fault, path_part: str
) -> None:
    stage = f"{fault} {path_part}"
    run_stage("before")  # creates the parent run
    server_proxy.set(fault, path_part, count=1)
    run_stage(stage)
    assert server_proxy.affected == 1
    server_proxy.set("none")
    # if the response to runs/create is lost, MLflow creates a second run
    running = ["RUNNING"] if (fault, path_part) == ("lost", "runs/create") else []
    assert run_facts(database, stage) == (["FINISHED", *running], 1, 3)
    run_stage(stage)
    assert run_facts(database, stage)[0] == sorted(["FINISHED", "FINISHED", *["KILLED" for _ in running]])


@pytest.mark.parametrize("fault", ["die", "500", "hang"])
def test_a_server_that_fails_during_a_run_is_reported_and_the_next_run_is_complete(
    database: Path, server_proxy: Proxy, project: Path, fault: Fault
) -> None:
    server_proxy.set(fault, "log-batch", first=2)
    with pytest.raises(WhaleidError, match=f"Tracking failed at {server_proxy.address}: ") as caught:
        run_stage(fault)
    assert "WHALEID_TRACKING=off" in str(caught.value)
    server_proxy.set("none")
    run_stage(fault)
    states, parents, metrics = run_facts(database, fault)
    assert "FINISHED" in states
    assert (len(states), parents, metrics) == (2, 1, 3)


def test_a_server_that_recovers_before_the_run_ends_records_it_as_failed(
    database: Path, server_proxy: Proxy, project: Path
) -> None:
    server_proxy.set("500", "log-batch", first=2, count=2)
    with pytest.raises(WhaleidError, match="500"):
        run_stage("brief")
    server_proxy.set("none")
    assert run_facts(database, "brief") == (["FAILED"], 1, 1)


def test_a_run_that_cannot_be_ended_is_a_failure(database: Path, server_proxy: Proxy, project: Path) -> None:
    server_proxy.set("none")
    run_stage("before")
    server_proxy.set("500", "runs/update", count=2)  # the request and MLflow's one retry
    with pytest.raises(WhaleidError, match="500"):
        run_stage("end")
    server_proxy.set("none")
    assert run_facts(database, "end") == (["FAILED"], 1, 3)


def test_a_run_created_by_a_slow_server_ends_as_killed(database: Path, server_proxy: Proxy, project: Path) -> None:
    server_proxy.set("none")
    run_stage("before")
    server_proxy.delay = 5
    server_proxy.set("slow", "runs/create")
    with pytest.raises(WhaleidError, match="timed out"):
        run_stage("slow to begin")
    server_proxy.set("none")
    assert set(run_facts(database, "slow to begin")[0]) == {"RUNNING"}
    run_stage("slow to begin")
    states = run_facts(database, "slow to begin")[0]
    assert set(states) == {"KILLED", "FINISHED"}
    assert states.count("FINISHED") == 1


def test_files_of_a_newer_mlflow_and_locked_files_are_errors(project: Path) -> None:
    run_stage("split")
    shutil.copy("mlflow.db", "newer.db")
    with closing(sqlite3.connect("newer.db")) as connection, connection:
        connection.execute("update alembic_version set version_num = 'ffffffffffff'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "sqlite:///newer.db")
        with pytest.raises(WhaleidError, match=r"newer\.db: Detected out-of-date database"):
            run_stage("split")
    with closing(sqlite3.connect("mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(WhaleidError, match=r"mlflow\.db: database is locked"):
            run_stage("split")


@pytest.mark.parametrize("fault", ["none", "lost", "500"])
def test_a_bundle_registered_again_keeps_its_version(
    database: Path, server_proxy: Proxy, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    about = SimpleNamespace(variant="final", digest=f"digest {fault}", validation="v", figures={"map5": 0.5})
    monkeypatch.setattr(description, "read", lambda folder: about)

    def log_model(client: MlflowClient, run: str, *_: object) -> str:  # without the model's files, which take a minute
        experiment = client.get_run(run).info.experiment_id
        return str(client.create_logged_model(experiment, registry.NAME, run).model_id)

    monkeypatch.setattr(registry, "_log_model", log_model)
    alias = f"alias-{fault}"
    with tracking.run("register") as run:
        server_proxy.set(fault, "model-versions/create", count=1)
        first = registry.register(run.ids[None], Path(), alias)
        assert server_proxy.affected == (fault != "none")
    server_proxy.set("none")
    # the state after a kill between creating the version and its alias
    MlflowClient(server_proxy.address).delete_registered_model_alias(registry.NAME, alias)
    with tracking.run("register") as run:
        again = registry.register(run.ids[None], Path(), alias)
    assert again == first
    assert again.alias == alias
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        query = "select count(*) from model_version_tags where key = 'whaleid.digest' and value = ?"
        # if the response is lost, MLflow creates a second version
        assert connection.execute(query, [about.digest]).fetchone() == (2 if fault == "lost" else 1,)
