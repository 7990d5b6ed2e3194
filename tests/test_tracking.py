"""MLflow runs of stages, read from SQLite stores and tracking servers."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from helpers.servers import mlflow_server
from mlflow.entities import Run, RunStatus
from mlflow.tracking import MlflowClient

from whaleid import tracking
from whaleid.cli import stages
from whaleid.core import execution, store
from whaleid.core.errors import WhaleidError
from whaleid.core.record import LogEpoch, Record, Report, Summary

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # in MLflow itself


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a store without runs once, because MLflow takes seconds to create one."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{database}")
    return database


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a project without git, DVC and a store; return its folder."""
    for name in [n for n in os.environ if n.startswith(("DVC_", "MLFLOW_", "WHALEID_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    write("params.yaml", "threshold: 0.2\n")
    return tmp_path


@pytest.fixture
def project(bare: Path, empty_store: Path) -> Path:
    """Change to a project with an empty store; return its folder."""
    shutil.copy(empty_store, bare / "mlflow.db")
    return bare


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def client(database: Path = Path("mlflow.db")) -> MlflowClient:
    return MlflowClient(f"sqlite:///{database.absolute()}")


def all_runs(database: Path = Path("mlflow.db")) -> list[Run]:
    """Return the runs of stages and their parent runs."""
    store = client(database)
    return list(store.search_runs([store.get_experiment_by_name("whaleid").experiment_id]))


def runs(database: Path = Path("mlflow.db")) -> dict[str, Run]:
    """Return the runs of stages by name; fail if names are not unique."""
    stage_runs = [run for run in all_runs(database) if "mlflow.parentRunId" in run.data.tags]
    names = [run.info.run_name for run in stage_runs]
    assert len(set(names)) == len(names)
    return dict(zip(names, stage_runs, strict=True))


def parents() -> list[Run]:
    return [run for run in all_runs() if "mlflow.parentRunId" not in run.data.tags]


def parent(child: str) -> Run:
    """Return the parent run of the run with the name `child`."""
    return client().get_run(runs()[child].data.tags["mlflow.parentRunId"])


def track(stage: str, variant: str | None = None, record: Record = Record()) -> None:  # noqa: B008 (frozen)
    with tracking.run(stage, [variant]) as run:
        run.log({variant: record})


def python_path() -> dict[str, str]:
    """Return the environment for a process that imports this checkout of whaleid."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python process that executes `code` in the working directory."""
    head = (
        "import sys\nfrom pathlib import Path\nfrom whaleid.core import startup\nstartup.prepare()\n"
        "from whaleid import tracking\nfrom whaleid.core.record import Record\n"
    )
    command = [sys.executable, "-c", head + code, *arguments]
    return subprocess.Popen(command, env=python_path(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for `process`; return its exit status and its output."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def test_a_record_is_logged(project: Path) -> None:
    write("reports/toy/curve.png", "a curve")
    write("reports/explore/sizes.png", "sizes")
    manifest = write("data/split.csv", "Image,Id\na.jpg,w_1\n")
    record = Record(
        params={"threshold": 0.2, "leaks": True, "init": "toy"},
        metrics={"map5": 0.5, "seconds": 3, "pace": 0.123456789, "small": 0.00001234567, "photos": 123_456_789},
        artifacts=[Path("reports/toy/curve.png"), Path("reports/explore")],
        dataset=manifest,
    )
    track("predict", "toy", record)

    run = runs()["predict toy"]
    assert run.info.status == "FINISHED"
    assert run.data.params == {"variant": "toy", "threshold": "0.2", "leaks": "True", "init": "toy"}
    rounded = {"pace": 0.12346, "small": 1.2346e-05, "photos": 12346e4}  # to five significant digits
    assert run.data.metrics == {"map5": 0.5, "seconds": 3.0, **rounded}
    assert run.data.tags["whaleid.stage"] == "predict"
    assert run.data.tags["whaleid.variant"] == "toy"
    store = client()
    assert [artifact.path for artifact in store.list_artifacts(run.info.run_id)] == ["curve.png", "explore"]
    sizes = store.download_artifacts(run.info.run_id, "explore/sizes.png", str(project))
    assert Path(sizes).read_text() == "sizes"
    [logged] = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("data/split.csv", md5("Image,Id\na.jpg,w_1\n"))
    assert logged.dataset.source == '{"uri": "data/split.csv"}'
    assert [(tag.key, tag.value) for tag in logged.tags] == [("mlflow.data.context", "validation")]
    tags = execution.tags()
    assert parent("predict toy").info.run_name == execution.name(tags)
    for run in all_runs():
        assert tags.items() - run.data.tags.items() == {("mlflow.source.git.commit", "")}
    # a stage without items
    track("dedup", None, Record(params={"max_distance": 6}))
    run = runs()["dedup"]
    assert run.data.params == {"max_distance": "6"}
    assert "whaleid.variant" not in run.data.tags


def test_metrics_are_logged_at_the_step_of_their_epoch(project: Path) -> None:
    with tracking.run("train", ["toy"]) as run:
        run.log_epoch(1, {"loss": 2.5, "lr": 0.1})
        run.log_epoch(2, {"loss": 1.5, "lr": 0.2})
        record = Record(metrics={"photos_per_second": 40.0}, dataset=write("data/unique.csv", "Image,Id\n"))
        run.log({"toy": record})

    trained = runs()["train toy"]
    assert trained.data.metrics == {"loss": 1.5, "lr": 0.2, "photos_per_second": 40.0}
    history = client().get_metric_history(trained.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 2.5), (2, 1.5)]
    [last] = client().get_metric_history(trained.info.run_id, "photos_per_second")
    assert last.step == 2
    assert trained.inputs.dataset_inputs[0].tags[0].value == "training"


def test_a_stage_with_items_has_one_run_per_item(project: Path) -> None:
    with tracking.run("predict", ["toy", "full"], "at 0.2") as run:
        assert {name: stage_run.info.status for name, stage_run in runs().items()} == {
            "predict toy at 0.2": "RUNNING",
            "predict full at 0.2": "RUNNING",
        }
        run.log({name: Record(metrics={"map5": value}) for name, value in (("toy", 0.5), ("full", 0.75))})
    stage_runs = runs().values()
    assert {run.data.tags["whaleid.variant"]: run.data.metrics["map5"] for run in stage_runs} == {
        "toy": 0.5,
        "full": 0.75,
    }
    assert {run.info.status for run in stage_runs} == {"FINISHED"}
    assert parent("predict toy at 0.2").info.run_id == parent("predict full at 0.2").info.run_id
    assert len(parents()) == 1


def test_a_stage_with_an_empty_list_of_items_has_only_a_parent_run(project: Path) -> None:
    with tracking.run("calibrate", []) as run:
        run.log({})
    assert [run.info.status for run in all_runs()] == ["FINISHED"]
    assert runs() == {}


def test_a_page_is_logged_to_the_run_that_calibrated_the_prediction(project: Path) -> None:
    decision = write("calibrations/toy/decision.json", "{}")
    page = write("reports/pages/toy.html", "<h1>toy</h1>")
    record = Record(artifacts=[page], report=Report("toy.html", decision))
    with tracking.run("predict", ["toy"]) as run:
        run.log({"toy": Record(report=record.report)})
    assert "mlflow.note.content" not in runs()["predict toy"].data.tags  # no run has the page
    client().update_run(runs()["predict toy"].info.run_id, name="earlier")

    track("calibrate", "toy", Record(outputs=[decision]))
    with tracking.run("predict", ["toy"]) as run:
        run.log({"toy": Record(report=record.report)})
    with tracking.run("report", []) as run:
        run.attach({"toy": record})
    calibrated = runs()["calibrate toy"].info
    assert [artifact.path for artifact in client().list_artifacts(calibrated.run_id)] == ["toy.html"]
    assert runs()["predict toy"].data.tags["mlflow.note.content"] == (
        "[Page of this prediction: thresholds, curves, contact sheets]"
        f"(#/experiments/{calibrated.experiment_id}/runs/{calibrated.run_id}/artifacts/toy.html)"
    )
    assert set(runs()) == {"earlier", "predict toy", "calibrate toy"}


def test_a_page_is_not_logged_if_no_run_calibrated_the_prediction(project: Path) -> None:
    decision = write("calibrations/toy/decision.json", "{}")
    page = write("reports/pages/toy.html", "<h1>toy</h1>")
    with tracking.run("report", []) as run:
        run.attach({"toy": Record(artifacts=[page], report=Report("toy.html", decision))})
    assert runs() == {}


def test_the_description_and_views_of_the_experiment_are_updated_until_a_user_edits_them(project: Path) -> None:
    def tags() -> dict[str, str]:
        return dict(client().get_experiment_by_name("whaleid").tags)

    track("dedup")
    number = client().get_experiment_by_name("whaleid").experiment_id
    created = {key: value for key, value in tags().items() if key.startswith("mlflow.")}
    assert created.keys() == {
        "mlflow.note.content",
        "mlflow.sharedViewState.predictions",
        "mlflow.sharedViewState.trainings",
    }
    assert created["mlflow.note.content"].splitlines()[0] == (
        f"**[Predictions](#/experiments/{number}/runs?viewStateShareKey=predictions&workflowType=machine_learning)**: "
        "all predictions at their thresholds, best first.  "
    )
    view = json.loads(created["mlflow.sharedViewState.predictions"])
    state = json.loads(view["state"])
    assert view["name"] == "Predictions"
    assert (state["searchFilter"], state["orderByKey"], state["orderByAsc"]) == (
        "tags.`whaleid.stage` = 'predict'",
        "metrics.`map5`",
        False,
    )
    assert state["selectedColumns"] == [
        "params.`variant`",
        "params.`validated`",
        "metrics.`threshold`",
        "metrics.`map5`",
        "metrics.`map5_known`",
        "metrics.`map5_unknown`",
        "metrics.`auroc`",
    ]

    track("dedup", "again")
    assert {key: value for key, value in tags().items() if key.startswith("mlflow.")} == created
    edited = {"mlflow.note.content": "the good ones", "mlflow.sharedViewState.predictions": "{}"}
    for key, value in edited.items():
        client().set_experiment_tag(number, key, value)
    track("dedup", "once more")
    assert {key: tags()[key] for key in edited} == edited


def test_stages_of_one_execution_share_a_parent_run(project: Path) -> None:
    track("train", "toy")
    track("predict", "toy")
    [first] = parents()
    assert first.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in runs().values()} == {first.info.run_id}
    assert set(runs()) == {"train toy", "predict toy"}

    write("params.yaml", "threshold: 0.3\n")
    track("calibrate", "toy")
    assert len(parents()) == 2
    assert parent("calibrate toy").info.run_id != first.info.run_id


def test_the_summary_is_logged_to_the_parent_run(project: Path) -> None:
    def predict(text: str, **map5: float) -> None:
        with tracking.run("predict", [*map5]) as run:
            run.log(dict.fromkeys(map5, Record()))
            metrics = {f"map5.{name}": value for name, value in map5.items()}
            run.summarise(Summary(metrics, f"**{text}**"))

    def only_parent() -> Run:
        [only] = parents()
        return only

    predict("one", toy=0.5)
    assert only_parent().data.metrics == {"map5.toy": 0.5}
    predict("two", full=0.75, margin=0.123456789)
    assert only_parent().data.metrics == {"map5.toy": 0.5, "map5.full": 0.75, "map5.margin": 0.12346}
    assert only_parent().data.tags["mlflow.note.content"] == "**two**"
    assert only_parent().info.status == "FINISHED"
    assert runs()["predict full"].data.metrics == {}

    # a description that a user has edited is kept
    client().set_tag(only_parent().info.run_id, "mlflow.note.content", "the good one")
    client().update_run(runs()["predict toy"].info.run_id, name="older")
    predict("three", toy=0.6)
    assert only_parent().data.tags["mlflow.note.content"] == "the good one"
    assert only_parent().data.metrics == {"map5.toy": 0.6, "map5.full": 0.75, "map5.margin": 0.12346}


def test_the_parent_run_ends_with_its_last_stage(project: Path) -> None:
    track("explore")
    begun = parent("explore").info.start_time
    with pytest.raises(ZeroDivisionError), tracking.run("train", ["toy"]):
        raise ZeroDivisionError
    assert parent("train toy").info.status == "FAILED"
    track("embed", "toy")
    ended = parent("embed toy").info
    assert ended.status == "FINISHED"
    assert ended.start_time == begun
    assert ended.end_time >= runs()["embed toy"].info.end_time


def test_deleting_the_parent_run_does_not_stop_a_stage(project: Path) -> None:
    with tracking.run("predict", ["toy"]) as run:
        client().delete_run(parent("predict toy").info.run_id)
        run.log({"toy": Record(metrics={"map5": 0.5})})
        run.summarise(Summary({}, "never"))
    assert {name: run.info.status for name, run in runs().items()} == {"predict toy": "FINISHED"}
    assert parents() == []


def test_runs_are_linked_by_content(project: Path) -> None:
    model = write("checkpoints/toy.safetensors", "weights")
    track("train", "toy", Record(outputs=[model]))
    track("calibrate", "toy", Record(inputs=[model]))
    trained = runs()["train toy"].info.run_id
    assert runs()["train toy"].data.tags["output.checkpoints/toy.safetensors"] == md5("weights")
    assert runs()["calibrate toy"].data.tags["input.checkpoints/toy.safetensors"] == trained

    # if several runs wrote the same content, the newest that was not deleted
    client().update_run(trained, name="older")
    track("train", "toy", Record(outputs=[model]))
    newer = runs()["train toy"].info.run_id
    track("embed", "toy", Record(inputs=[model]))
    assert runs()["embed toy"].data.tags["input.checkpoints/toy.safetensors"] == newer
    client().delete_run(newer)
    track("predict", "toy", Record(inputs=[model]))
    assert runs()["predict toy"].data.tags["input.checkpoints/toy.safetensors"] == trained

    write("checkpoints/toy.safetensors", "weights from DVC's cache")
    track("explore", None, Record(inputs=[model]))
    assert runs()["explore"].data.tags["input.checkpoints/toy.safetensors"] == md5("weights from DVC's cache")


@pytest.mark.parametrize(
    ("error", "status"), [(WhaleidError("bad"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")]
)
def test_an_exception_propagates_and_sets_the_status_of_the_runs(
    project: Path, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)) as caught, tracking.run("predict", ["toy", "full"]):
        raise error
    assert caught.value is error
    assert [run.info.status for run in all_runs()] == [status] * 3


def test_a_tracking_error_stops_the_stage(project: Path) -> None:
    completed = []

    def stage(log_epoch: LogEpoch) -> None:
        client().delete_run(runs()["train toy"].info.run_id)
        log_epoch(1, {"loss": 2.0})
        completed.append("epoch")

    deleted = pytest.raises(WhaleidError, match=r"Tracking failed at sqlite:.*deleted")
    with deleted as caught, tracking.run("train", ["toy"]) as run:
        stage(run.log_epoch)
    assert not completed
    assert "WHALEID_TRACKING=off" in str(caught.value)
    assert caught.value.__notes__  # the deleted run could not be marked as failed either


def test_a_missing_artifact_is_an_error(project: Path) -> None:
    with pytest.raises(WhaleidError, match=r"nowhere\.png"):
        track("predict", "toy", Record(artifacts=[Path("nowhere.png")]))
    assert runs()["predict toy"].info.status == "FAILED"


def test_tracking_is_on_or_off(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.enabled()
    for value, enabled in (("on", True), ("off", False)):
        monkeypatch.setenv("WHALEID_TRACKING", value)
        assert store.enabled() == enabled
    monkeypatch.setenv("WHALEID_TRACKING", "no")
    with pytest.raises(WhaleidError, match=r"WHALEID_TRACKING is 'no'. Set it to on or off"):
        store.enabled()
    monkeypatch.delenv("WHALEID_TRACKING")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")  # only the main process tracks
    monkeypatch.setenv("RANK", "1")
    assert not store.enabled()


def test_off_logs_nothing_and_does_not_import_mlflow(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHALEID_TRACKING", "off")
    monkeypatch.setitem(sys.modules, "whaleid.tracking", None)  # importing it fails
    shutil.copy(Path(__file__).parents[1] / "params.yaml", bare)
    with pytest.raises(FileNotFoundError) as caught:
        stages.run("dedup")
    assert caught.value.filename == "data/catalog.csv"
    assert [path.name for path in bare.iterdir()] == ["params.yaml"]


def test_an_unreachable_server_stops_the_stage_within_seconds(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    with pytest.raises(WhaleidError, match=r"Tracking failed at http://127\.0\.0\.1:9") as caught:
        track("dedup")
    assert "MLFLOW_TRACKING_URI" in str(caught.value)
    assert "WHALEID_TRACKING=off" in str(caught.value)
    assert "secret" not in str(caught.value)
    # afterwards, the timeout is MLflow's default again
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
    assert sorted(path.name for path in bare.iterdir()) == ["params.yaml"]


def test_the_timeout_of_the_user_applies_to_a_silent_server(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(WhaleidError, match="timed out"):
            track("dedup")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"


@pytest.mark.parametrize("content", ["no database at all " * 300, "SQLite format 3\0" + "?" * 5000])
def test_a_file_that_is_not_a_database_is_refused_and_kept(bare: Path, content: str) -> None:
    database = write("mlflow.db", content)
    with pytest.raises(WhaleidError, match=r"Tracking failed at sqlite:.*mlflow\.db: file is not a database"):
        track("dedup")
    assert database.read_text() == content


def test_the_error_of_a_deleted_experiment_says_how_to_restore_it(project: Path) -> None:
    track("dedup")
    store = client()
    number = store.get_experiment_by_name("whaleid").experiment_id
    store.delete_experiment(number)
    with pytest.raises(WhaleidError, match=f"mlflow experiments restore --experiment-id {number}"):
        track("dedup")


def test_the_store_is_in_the_root_of_dvc(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = project / "temporary"
    workspace.mkdir()
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("DVC_ROOT", str(project))
    write("params.yaml", "threshold: 0.2\n")
    track("predict", "toy", Record(artifacts=[write("toy.csv", "Image,Id\n")]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    track("embed", "toy")
    stage_runs = runs(project / "mlflow.db")
    assert (project / "mlartifacts" / stage_runs["predict toy"].info.run_id / "artifacts" / "toy.csv").is_file()
    assert "embed toy" in stage_runs
    assert sorted(path.name for path in workspace.iterdir()) == ["params.yaml", "toy.csv"]


def test_the_store_may_be_in_a_folder_of_any_name(
    project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project / "a %20?#é b"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    track("dedup", None, Record(artifacts=[write("params.yaml", "threshold: 0.2\n")]))
    assert len(list(folder.glob("mlartifacts/*/artifacts/params.yaml"))) == 1
    assert {path.name for path in project.iterdir() if "?" not in path.name} <= {"params.yaml", "data", "mlflow.db"}


def test_artifacts_are_next_to_an_sqlite_store(
    project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = project / "bär & co" / "runs.db"
    elsewhere.parent.mkdir()
    shutil.copy(empty_store, elsewhere)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    track("dedup", None, Record(artifacts=[Path("params.yaml")]))
    assert list(elsewhere.with_name("mlartifacts").glob("*/artifacts/params.yaml"))
    assert runs(elsewhere)["dedup"].info.status == "FINISHED"


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.long)])
def test_processes_can_create_the_store_at_the_same_time(bare: Path, count: int) -> None:
    code = """
n = sys.argv[1]
with tracking.run("train", [n]) as run:
    run.log({n: Record(metrics={"n": int(n)})})
"""
    processes = [start(code, str(n)) for n in range(count)]
    assert [finish(process) for process in processes] == [(0, "")] * count  # and MLflow prints nothing
    assert {name: run.data.metrics for name, run in runs().items()} == {
        f"train {n}": {"n": float(n)} for n in range(count)
    }
    assert [run.data.metrics for run in parents()] == [{}]
    default = client().get_experiment("0").artifact_location
    assert default == (bare / "mlartifacts" / "0").as_uri()
    assert sorted(path.name for path in bare.iterdir()) == [
        "mlflow.db",
        "mlflow.db.lock",
        "params.yaml",
    ]


@pytest.mark.long
def test_processes_can_log_at_the_same_time(project: Path) -> None:
    code = """
with tracking.run("train", [sys.argv[1]]) as run:
    for epoch in range(1, 31):
        run.log_epoch(epoch, {"loss": 1 / epoch, "lr": epoch})
    record = Record(params={"n": 1}, metrics={"last": 1.0}, artifacts=[Path("params.yaml"), Path("pictures")])
    run.log({sys.argv[1]: record})
"""
    for n in range(10):
        write(f"pictures/{n}.png", str(n))
    processes = [start(code, str(n)) for n in range(4)]
    assert [finish(process) for process in processes] == [(0, "")] * 4
    store = client()
    for n in range(4):
        run = runs()[f"train {n}"]
        assert RunStatus.is_terminated(RunStatus.from_string(run.info.status))
        history = store.get_metric_history(run.info.run_id, "lr")
        assert [metric.value for metric in history] == list(range(1, 31))
        assert len(store.list_artifacts(run.info.run_id, "pictures")) == 10


@pytest.mark.long
@pytest.mark.parametrize("served", [False, True])
def test_processes_can_log_a_new_dataset_at_the_same_time(
    project: Path, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    code = """
import time
name, other = sys.argv[1:]
with tracking.run("predict", [name]) as run:
    for n in range(40):
        Path(f"{name}{n}").touch()
        until = time.monotonic() + 20
        while not Path(f"{other}{n}").exists():
            assert time.monotonic() < until, "the other process is late"
        run.log({name: Record(dataset=Path(f"data/{n}.csv"))})
"""
    for n in range(40):
        write(f"data/{n}.csv", f"Image,Id\n{n}.jpg,w_1\n")
    with mlflow_server(f"sqlite:///{project}/mlflow.db") if served else nullcontext() as address:
        if address:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        track("explore")  # create the parent run, because two processes could create one each on a server
        processes = [start(code, "a", "b"), start(code, "b", "a")]
        assert [finish(process) for process in processes] == [(0, "")] * 2
    assert [len(runs()[f"predict {name}"].inputs.dataset_inputs) for name in "ab"] == [40] * 2


@pytest.mark.slow
def test_partial_files_of_a_killed_process_are_removed(bare: Path) -> None:
    for name in (".mlflow.partial.db", ".mlflow.partial.db-journal"):
        (bare / name).touch()
    track("dedup")
    assert [path.name for path in bare.iterdir() if "partial" in path.name] == []


@pytest.mark.long
def test_a_full_disk_leaves_no_partial_store(bare: Path) -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
with tracking.run("dedup"):
    pass
"""
    _, printed = finish(start(code))
    assert "WhaleidError: Tracking failed at sqlite:" in printed
    assert sorted(path.name for path in bare.iterdir()) == ["mlflow.db.lock", "params.yaml"]
    track("dedup")
    assert runs()["dedup"].info.status == "FINISHED"


def test_removing_the_store_during_a_stage_is_an_error(project: Path) -> None:
    with (
        pytest.raises(
            WhaleidError,
            match=r"mlflow\.db: the file was removed while the stage ran\nFix this problem, set MLFLOW_TRACKING_URI",
        ),
        tracking.run("train", ["toy"]) as run,
    ):
        run.log_epoch(1, {"loss": 2.0})
        Path("mlflow.db").unlink()
        run.log_epoch(2, {"loss": 1.0})
    assert not Path("mlflow.db").exists()


def kill(stage: str, *items: str) -> None:
    """Leave runs open, like a process that receives SIGKILL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking.Run, "end", lambda *_: None)
        with tracking.run(stage, items or [None]) as run:
            if len(items) == 1:
                run.log_epoch(1, {"loss": 2.0})


def statuses() -> list[tuple[str, str]]:
    """Return the sorted names and statuses of the runs of stages."""
    stage_runs = [run.info for run in all_runs() if "mlflow.parentRunId" in run.data.tags]
    return sorted((run.run_name, run.status) for run in stage_runs)


def test_the_next_execution_ends_a_killed_run_at_its_last_metric(project: Path) -> None:
    kill("train", "toy")
    [killed] = [run for run in all_runs() if run.info.status == "RUNNING"]
    [logged] = client().get_metric_history(killed.info.run_id, "loss")
    track("train", "toy")
    assert statuses() == [("train toy", "FINISHED"), ("train toy", "KILLED")]
    assert client().get_run(killed.info.run_id).info.end_time == logged.timestamp
    assert [parent.info.status for parent in parents()] == ["FINISHED"]


def test_a_killed_run_without_metrics_ends_at_its_start_time(project: Path) -> None:
    kill("predict", "toy", "full")
    killed = {run.info.run_id: run.info.start_time for run in all_runs() if run.info.status == "RUNNING"}
    assert len(killed) == 2
    with tracking.run("predict", ["full", "toy"]):
        pass
    assert {run: client().get_run(run).info.end_time for run in killed} == killed
    assert {client().get_run(run).info.status for run in killed} == {"KILLED"}


def test_the_parent_run_of_an_earlier_execution_is_marked_as_killed(project: Path) -> None:
    kill("dedup")
    killed = parent("dedup").info.run_id
    write("params.yaml", "threshold: 0.3\n")
    track("dedup")
    assert {run.info.run_id == killed: run.info.status for run in parents()} == {True: "KILLED", False: "FINISHED"}


@pytest.mark.parametrize("collected", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_killed_run_is_ended_even_if_its_parent_run_was_deleted(project: Path, collected: bool) -> None:
    kill("train", "toy")
    removed = parent("train toy").info.run_id
    client().delete_run(removed)
    if collected:
        command = [sys.executable, "-m", "mlflow", "gc", "--tracking-uri", "sqlite:///mlflow.db"]
        command += ["--backend-store-uri", "sqlite:///mlflow.db", "--run-ids", removed]
        subprocess.run(command, check=True, capture_output=True, timeout=100)
    track("train", "toy")
    assert statuses() == [("train toy", "FINISHED"), ("train toy", "KILLED")]


def test_a_parent_run_keeps_the_status_of_a_later_stage(project: Path) -> None:
    kill("train", "toy")
    track("embed", "full")
    killed = parent("train toy").info
    write("params.yaml", "threshold: 0.3\n")
    track("train", "toy")
    after = client().get_run(killed.run_id).info
    assert (after.status, after.end_time) == ("FINISHED", killed.end_time)


def test_runs_of_other_items_or_stages_stay_open(project: Path) -> None:
    with tracking.run("train", ["toy"]):
        track("train", "full")
        track("embed", "toy")
        assert runs()["train toy"].info.status == "RUNNING"
    assert runs()["train toy"].info.status == "FINISHED"


def test_runs_of_other_folders_or_hosts_stay_open(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    clone = project / "it's a clone"
    clone.mkdir()
    shutil.copy("params.yaml", clone)
    with tracking.run("train", ["toy"]):
        monkeypatch.chdir(clone)
        with tracking.run("train", ["toy"], "in the clone"):
            monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
            with tracking.run("train", ["toy"], "elsewhere"):
                monkeypatch.chdir(project)
                assert {status for _, status in statuses()} == {"RUNNING"}
                assert len(statuses()) == 3


def test_a_run_marked_as_killed_while_in_progress_gets_its_final_status(project: Path) -> None:
    with tracking.run("train", ["toy"]) as run:
        track("train", "toy")
        assert statuses() == [("train toy", "FINISHED"), ("train toy", "KILLED")]
        run.log_epoch(1, {"loss": 2.0})
    assert statuses() == [("train toy", "FINISHED"), ("train toy", "FINISHED")]
