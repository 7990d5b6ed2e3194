"""Stores that fail: a plain error within a bound, or another try; and what is there afterwards."""

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
    with mlflow_server(f"sqlite:///{database}") as address, proxy(address) as made:
        yield made


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, a project of its own that no other test shares a parent with."""
    for name in ("WHALEID_TRACKING", "MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"here: {tmp_path}\n")
    return tmp_path


@pytest.fixture
def between(server: Proxy, project: Path, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """What stands between the project and its server, and lets all through so far."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    server.set("none")
    return server


def work(stage: str) -> None:
    """Be a stage with two epochs, metrics, an artifact and a dataset."""
    with tracking.run(stage) as run:
        for epoch in (1, 2):
            run.log_epoch(epoch, {"loss": 1 / epoch})
        manifest = Path("params.yaml")
        run.log({None: Record(params={"n": 1}, metrics={"map5": 0.5}, artifacts=[manifest], dataset=manifest)})


OF_PROJECT = """
select count(*) from runs join tags using (run_uuid)
where key = 'whaleid.stage' and value = 'pipeline' and lifecycle_stage = 'active' and run_uuid in (
    select run_uuid from tags where key = 'whaleid.key' and value in (
        select value from tags where key = 'whaleid.key' and run_uuid in (
            select run_uuid from tags where key = 'whaleid.stage' and value = ?)))
"""
"""Counts the parents of the execution that runs of a stage belong to: each project here is one execution."""


def found(database: Path, stage: str) -> tuple[list[str], int, int]:
    """Return the states of the stage's runs, how many parents the project has, and the most metrics of such a run."""
    with closing(sqlite3.connect(database, timeout=20)) as store:
        runs = store.execute(
            "select run_uuid, status from runs join tags using (run_uuid) where key = 'whaleid.stage' and value = ?",
            [stage],
        ).fetchall()
        [[parents]] = store.execute(OF_PROJECT, [stage])
        count = "select count(*) from metrics where run_uuid = ?"
        counts = [int(store.execute(count, [run]).fetchone()[0]) for run, _ in runs]
    return sorted(status for _, status in runs), parents, max(counts, default=0)


@pytest.mark.parametrize("fault", ["lost", "500"])
@pytest.mark.parametrize("on", ["runs/create", "log-batch", "log-inputs", "artifacts", "runs/update"])
def test_one_bad_answer_stops_nothing_and_leaves_nothing_twice(
    database: Path, between: Proxy, project: Path, fault: Fault, on: str
) -> None:
    stage = f"{fault} {on}"
    work("before")  # makes the parent
    between.set(fault, on, count=1)
    work(stage)
    assert between.affected == 1
    between.set("none")
    # MLflow begins a run again where the answer was lost
    lost = ["RUNNING"] if (fault, on) == ("lost", "runs/create") else []
    assert found(database, stage) == (["FINISHED", *lost], 1, 3)
    work(stage)
    assert found(database, stage)[0] == sorted(["FINISHED", "FINISHED", *["KILLED" for _ in lost]])


@pytest.mark.parametrize("fault", ["die", "500", "hang"])
def test_a_server_that_fails_in_the_middle_is_told_and_afterwards_all_is_there_once(
    database: Path, between: Proxy, project: Path, fault: Fault
) -> None:
    between.set(fault, "log-batch", first=2)
    with pytest.raises(WhaleidError, match=f"Tracking failed at {between.address}: ") as caught:
        work(fault)
    assert "WHALEID_TRACKING=off" in str(caught.value)
    between.set("none")
    work(fault)
    states, parents, metrics = found(database, fault)
    assert "FINISHED" in states
    assert (len(states), parents, metrics) == (2, 1, 3)


def test_a_server_that_is_back_when_the_run_ends_has_it_as_failed(
    database: Path, between: Proxy, project: Path
) -> None:
    between.set("500", "log-batch", first=2, count=2)
    with pytest.raises(WhaleidError, match="500"):
        work("brief")
    between.set("none")
    assert found(database, "brief") == (["FAILED"], 1, 1)


def test_a_run_that_cannot_be_ended_is_no_success(database: Path, between: Proxy, project: Path) -> None:
    between.set("none")
    work("warm")
    between.set("500", "runs/update", count=2)  # MLflow's one retry included
    with pytest.raises(WhaleidError, match="500"):
        work("end")
    between.set("none")
    assert found(database, "end") == (["FAILED"], 1, 3)


def test_a_run_that_a_slow_server_began_ends_as_killed(database: Path, between: Proxy, project: Path) -> None:
    between.set("none")
    work("before")
    between.delay = 5
    between.set("slow", "runs/create")
    with pytest.raises(WhaleidError, match="timed out"):
        work("slow to begin")
    between.set("none")
    assert set(found(database, "slow to begin")[0]) == {"RUNNING"}
    work("slow to begin")
    states = found(database, "slow to begin")[0]
    assert set(states) == {"KILLED", "FINISHED"}
    assert states.count("FINISHED") == 1


def test_a_file_of_another_mlflow_and_one_that_stays_locked(project: Path) -> None:
    work("split")
    shutil.copy("mlflow.db", "newer.db")
    with closing(sqlite3.connect("newer.db")) as store, store:
        store.execute("update alembic_version set version_num = 'ffffffffffff'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "sqlite:///newer.db")
        with pytest.raises(WhaleidError, match=r"newer\.db: Detected out-of-date database"):
            work("split")
    with closing(sqlite3.connect("mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(WhaleidError, match=r"mlflow\.db: database is locked"):
            work("split")


@pytest.mark.parametrize("fault", ["none", "lost", "500"])
def test_a_bundle_that_is_registered_again_keeps_its_version(
    database: Path, between: Proxy, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    about = SimpleNamespace(variant="final", digest=f"digest {fault}", validation="v", figures={"map5": 0.5})
    monkeypatch.setattr(description, "read", lambda folder: about)

    def log_model(client: MlflowClient, run: str, *_: object) -> str:  # a model without its files, which take a minute
        experiment = client.get_run(run).info.experiment_id
        return str(client.create_logged_model(experiment, registry.NAME, run).model_id)

    monkeypatch.setattr(registry, "_log_model", log_model)
    alias = f"alias-{fault}"
    with tracking.run("register") as run:
        between.set(fault, "model-versions/create", count=1)
        first = registry.register(run.ids[None], Path(), alias)
        assert between.affected == (fault != "none")
    between.set("none")
    # as after a kill between the version and its alias
    MlflowClient(between.address).delete_registered_model_alias(registry.NAME, alias)
    with tracking.run("register") as run:
        again = registry.register(run.ids[None], Path(), alias)
    assert again == first
    assert again.alias == alias
    with closing(sqlite3.connect(database, timeout=20)) as store:
        query = "select count(*) from model_version_tags where key = 'whaleid.digest' and value = ?"
        # MLflow creates a version again where the answer was lost
        assert store.execute(query, [about.digest]).fetchone() == (2 if fault == "lost" else 1,)
