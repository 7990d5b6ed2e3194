"""Runs of stages, read back from real SQLite stores."""

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
    """A store without runs: MLflow takes seconds to make one."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{database}")
    return database


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a project without git, without DVC and without a store."""
    for name in [n for n in os.environ if n.startswith(("DVC_", "MLFLOW_", "WHALEID_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    write("params.yaml", "threshold: 0.2\n")
    return tmp_path


@pytest.fixture
def project(bare: Path, empty_store: Path) -> Path:
    """The working directory, with a store that holds no runs."""
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


def stored(database: Path = Path("mlflow.db")) -> list[Run]:
    """Return all runs."""
    store = client(database)
    return list(store.search_runs([store.get_experiment_by_name("whaleid").experiment_id]))


def runs(database: Path = Path("mlflow.db")) -> dict[str, Run]:
    """Return the runs of stages by name; fails where two have the same."""
    found = [run for run in stored(database) if "mlflow.parentRunId" in run.data.tags]
    names = [run.info.run_name for run in found]
    assert len(set(names)) == len(names)
    return dict(zip(names, found, strict=True))


def parents() -> list[Run]:
    return [run for run in stored() if "mlflow.parentRunId" not in run.data.tags]


def parent(child: str) -> Run:
    """Return the parent of the run with that name."""
    return client().get_run(runs()[child].data.tags["mlflow.parentRunId"])


def track(stage: str, variant: str | None = None, record: Record = Record()) -> None:  # noqa: B008 (frozen)
    with tracking.run(stage, [variant]) as run:
        run.log({variant: record})


def python_path() -> dict[str, str]:
    """Return an environment in which the project's own code is imported."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run `code` in a Python process of its own, in the working directory."""
    head = (
        "import sys\nfrom pathlib import Path\nfrom whaleid.core import startup\nstartup.prepare()\n"
        "from whaleid import tracking\nfrom whaleid.core.record import Record\n"
    )
    command = [sys.executable, "-c", head + code, *arguments]
    return subprocess.Popen(command, env=python_path(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit status of `process` and all it printed."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def test_a_record_reads_back(project: Path) -> None:
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
    assert [each.path for each in store.list_artifacts(run.info.run_id)] == ["curve.png", "explore"]
    sizes = store.download_artifacts(run.info.run_id, "explore/sizes.png", str(project))
    assert Path(sizes).read_text() == "sizes"
    [used] = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("data/split.csv", md5("Image,Id\na.jpg,w_1\n"))
    assert used.dataset.source == '{"uri": "data/split.csv"}'
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "validation")]
    tags = execution.tags()
    assert parent("predict toy").info.run_name == execution.name(tags)
    for each in stored():
        assert tags.items() - each.data.tags.items() == {("mlflow.source.git.commit", "")}
    # a stage without items
    track("dedup", None, Record(params={"max_distance": 6}))
    run = runs()["dedup"]
    assert run.data.params == {"max_distance": "6"}
    assert "whaleid.variant" not in run.data.tags


def test_epochs_are_steps_and_the_last_figures_stand_at_the_last(project: Path) -> None:
    with tracking.run("train", ["toy"]) as run:
        run.log_epoch(1, {"loss": 2.5, "lr": 0.1})
        run.log_epoch(2, {"loss": 1.5, "lr": 0.2})
        record = Record(metrics={"photos_per_second": 40.0}, dataset=write("data/unique.csv", "Image,Id\n"))
        run.log({"toy": record})

    trained = runs()["train toy"]
    assert trained.data.metrics == {"loss": 1.5, "lr": 0.2, "photos_per_second": 40.0}
    history = client().get_metric_history(trained.info.run_id, "loss")
    assert [(each.step, each.value) for each in history] == [(1, 2.5), (2, 1.5)]
    [last] = client().get_metric_history(trained.info.run_id, "photos_per_second")
    assert last.step == 2
    assert trained.inputs.dataset_inputs[0].tags[0].value == "training"


def test_a_stage_of_several_predictions_has_a_run_for_each(project: Path) -> None:
    with tracking.run("predict", ["toy", "full"], "at 0.2") as run:
        assert {name: each.info.status for name, each in runs().items()} == {
            "predict toy at 0.2": "RUNNING",
            "predict full at 0.2": "RUNNING",
        }
        run.log({name: Record(metrics={"map5": value}) for name, value in (("toy", 0.5), ("full", 0.75))})
    found = runs()
    assert {each.data.tags["whaleid.variant"]: each.data.metrics["map5"] for each in found.values()} == {
        "toy": 0.5,
        "full": 0.75,
    }
    assert {each.info.status for each in found.values()} == {"FINISHED"}
    assert parent("predict toy at 0.2").info.run_id == parent("predict full at 0.2").info.run_id
    assert len(parents()) == 1


def test_a_stage_without_items_has_a_parent_alone(project: Path) -> None:
    with tracking.run("calibrate", []) as run:
        run.log({})
    assert [each.info.status for each in stored()] == ["FINISHED"]
    assert runs() == {}


def test_a_page_is_kept_with_the_run_that_its_prediction_was_calibrated_by(project: Path) -> None:
    decision = write("calibrations/toy/decision.json", "{}")
    page = write("reports/pages/toy.html", "<h1>toy</h1>")
    record = Record(artifacts=[page], report=Report("toy.html", decision))
    with tracking.run("predict", ["toy"]) as run:
        run.log({"toy": Record(report=record.report)})
    assert "mlflow.note.content" not in runs()["predict toy"].data.tags  # there is no run with the page
    client().update_run(runs()["predict toy"].info.run_id, name="earlier")

    track("calibrate", "toy", Record(outputs=[decision]))
    with tracking.run("predict", ["toy"]) as run:
        run.log({"toy": Record(report=record.report)})
    with tracking.run("report", []) as run:
        run.attach({"toy": record})
    calibrated = runs()["calibrate toy"].info
    assert [each.path for each in client().list_artifacts(calibrated.run_id)] == ["toy.html"]
    assert runs()["predict toy"].data.tags["mlflow.note.content"] == (
        "[Its page: thresholds in steps of 0.005, curves, contact sheets]"
        f"(#/experiments/{calibrated.experiment_id}/runs/{calibrated.run_id}/artifacts/toy.html)"
    )
    assert set(runs()) == {"earlier", "predict toy", "calibrate toy"}


def test_a_page_is_left_out_where_the_store_has_no_run_that_calibrated(project: Path) -> None:
    decision = write("calibrations/toy/decision.json", "{}")
    page = write("reports/pages/toy.html", "<h1>toy</h1>")
    with tracking.run("report", []) as run:
        run.attach({"toy": Record(artifacts=[page], report=Report("toy.html", decision))})
    assert runs() == {}


def test_the_experiment_is_described_and_has_views_until_a_person_changes_them(project: Path) -> None:
    def tags() -> dict[str, str]:
        return dict(client().get_experiment_by_name("whaleid").tags)

    track("dedup")
    number = client().get_experiment_by_name("whaleid").experiment_id
    shown = {key: value for key, value in tags().items() if key.startswith("mlflow.")}
    assert shown.keys() == {
        "mlflow.note.content",
        "mlflow.sharedViewState.predictions",
        "mlflow.sharedViewState.trainings",
    }
    assert shown["mlflow.note.content"].splitlines()[0] == (
        f"**[Predictions](#/experiments/{number}/runs?viewStateShareKey=predictions&workflowType=machine_learning)**: "
        "all predictions at their thresholds, best first.  "
    )
    view = json.loads(shown["mlflow.sharedViewState.predictions"])
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
    assert {key: value for key, value in tags().items() if key.startswith("mlflow.")} == shown
    ours = {"mlflow.note.content": "the good ones", "mlflow.sharedViewState.predictions": "{}"}
    for key, value in ours.items():
        client().set_experiment_tag(number, key, value)
    track("dedup", "once more")
    assert {key: tags()[key] for key in ours} == ours


def test_stages_of_one_execution_have_one_parent(project: Path) -> None:
    track("train", "toy")
    track("predict", "toy")
    [first] = parents()
    assert first.info.status == "FINISHED"
    assert {each.data.tags["mlflow.parentRunId"] for each in runs().values()} == {first.info.run_id}
    assert set(runs()) == {"train toy", "predict toy"}

    write("params.yaml", "threshold: 0.3\n")
    track("calibrate", "toy")
    assert len(parents()) == 2
    assert parent("calibrate toy").info.run_id != first.info.run_id


def test_the_parent_sums_up_what_its_stages_found(project: Path) -> None:
    def predict(said: str, **map5: float) -> None:
        with tracking.run("predict", [*map5]) as run:
            run.log(dict.fromkeys(map5, Record()))
            metrics = {f"map5.{name}": value for name, value in map5.items()}
            run.summarise(Summary(metrics, f"**{said}**"))

    def shown() -> Run:
        [only] = parents()
        return only

    predict("one", toy=0.5)
    assert shown().data.metrics == {"map5.toy": 0.5}
    predict("two", full=0.75, margin=0.123456789)
    assert shown().data.metrics == {"map5.toy": 0.5, "map5.full": 0.75, "map5.margin": 0.12346}
    assert shown().data.tags["mlflow.note.content"] == "**two**"
    assert shown().info.status == "FINISHED"
    assert runs()["predict full"].data.metrics == {}

    # what a person writes there stays
    client().set_tag(shown().info.run_id, "mlflow.note.content", "the good one")
    client().update_run(runs()["predict toy"].info.run_id, name="older")
    predict("three", toy=0.6)
    assert shown().data.tags["mlflow.note.content"] == "the good one"
    assert shown().data.metrics == {"map5.toy": 0.6, "map5.full": 0.75, "map5.margin": 0.12346}


def test_the_parent_ends_as_the_last_of_its_stages(project: Path) -> None:
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


def test_a_parent_that_is_deleted_meanwhile_stops_nothing(project: Path) -> None:
    with tracking.run("predict", ["toy"]) as run:
        client().delete_run(parent("predict toy").info.run_id)
        run.log({"toy": Record(metrics={"map5": 0.5})})
        run.summarise(Summary({}, "never"))
    assert {each: run.info.status for each, run in runs().items()} == {"predict toy": "FINISHED"}
    assert parents() == []


def test_runs_are_linked_by_content(project: Path) -> None:
    model = write("checkpoints/toy.safetensors", "weights")
    track("train", "toy", Record(outputs=[model]))
    track("calibrate", "toy", Record(inputs=[model]))
    trained = runs()["train toy"].info.run_id
    assert runs()["train toy"].data.tags["output.checkpoints/toy.safetensors"] == md5("weights")
    assert runs()["calibrate toy"].data.tags["input.checkpoints/toy.safetensors"] == trained

    # of several writers of the same bytes, the newest that was not deleted
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
def test_an_exception_passes_through_and_marks_the_runs(project: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)) as caught, tracking.run("predict", ["toy", "full"]):
        raise error
    assert caught.value is error
    assert [each.info.status for each in stored()] == [status] * 3


def test_an_error_of_the_tracker_stops_the_stage(project: Path) -> None:
    reached = []

    def stage(log_epoch: LogEpoch) -> None:
        client().delete_run(runs()["train toy"].info.run_id)
        log_epoch(1, {"loss": 2.0})
        reached.append("the second epoch")

    trouble = pytest.raises(WhaleidError, match=r"Tracking failed at sqlite:.*deleted")
    with trouble as caught, tracking.run("train", ["toy"]) as run:
        stage(run.log_epoch)
    assert not reached
    assert "WHALEID_TRACKING=off" in str(caught.value)
    assert caught.value.__notes__  # the deleted run could not be marked as failed either


def test_a_missing_artifact_is_an_error(project: Path) -> None:
    with pytest.raises(WhaleidError, match=r"nowhere\.png"):
        track("predict", "toy", Record(artifacts=[Path("nowhere.png")]))
    assert runs()["predict toy"].info.status == "FAILED"


def test_the_switch_is_on_or_off(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.enabled()
    for value, enabled in (("on", True), ("off", False)):
        monkeypatch.setenv("WHALEID_TRACKING", value)
        assert store.enabled() == enabled
    monkeypatch.setenv("WHALEID_TRACKING", "no")
    with pytest.raises(WhaleidError, match=r"WHALEID_TRACKING is 'no'. Set it to on or off"):
        store.enabled()
    monkeypatch.delenv("WHALEID_TRACKING")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")  # of several processes, the first tracks
    monkeypatch.setenv("RANK", "1")
    assert not store.enabled()


def test_off_keeps_nothing_and_imports_no_mlflow(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHALEID_TRACKING", "off")
    monkeypatch.setitem(sys.modules, "whaleid.tracking", None)  # an import of it fails
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
    # once a run is open, MLflow is patient again
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
    assert sorted(path.name for path in bare.iterdir()) == ["params.yaml"]


def test_a_silent_server_is_given_up_after_the_time_the_user_set(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(WhaleidError, match="timed out"):
            track("dedup")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"


@pytest.mark.parametrize("junk", ["no database at all " * 300, "SQLite format 3\0" + "?" * 5000])
def test_what_is_no_database_is_refused_and_kept(bare: Path, junk: str) -> None:
    database = write("mlflow.db", junk)
    with pytest.raises(WhaleidError, match=r"Tracking failed at sqlite:.*mlflow\.db: file is not a database"):
        track("dedup")
    assert database.read_text() == junk


def test_a_deleted_experiment_is_named_with_its_remedy(project: Path) -> None:
    track("dedup")
    store = client()
    number = store.get_experiment_by_name("whaleid").experiment_id
    store.delete_experiment(number)
    with pytest.raises(WhaleidError, match=f"mlflow experiments restore --experiment-id {number}"):
        track("dedup")


def test_the_store_stands_in_the_root_of_dvc(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = project / "temporary"
    workspace.mkdir()
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("DVC_ROOT", str(project))
    write("params.yaml", "threshold: 0.2\n")
    track("predict", "toy", Record(artifacts=[write("toy.csv", "Image,Id\n")]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    track("embed", "toy")
    found = runs(project / "mlflow.db")
    assert (project / "mlartifacts" / found["predict toy"].info.run_id / "artifacts" / "toy.csv").is_file()
    assert "embed toy" in found
    assert sorted(path.name for path in workspace.iterdir()) == ["params.yaml", "toy.csv"]


def test_another_sqlite_store_holds_its_artifacts(
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
def test_processes_that_open_a_new_store_at_once_all_succeed(bare: Path, count: int) -> None:
    code = """
n = sys.argv[1]
with tracking.run("train", [n]) as run:
    run.log({n: Record(metrics={"n": int(n)})})
"""
    processes = [start(code, str(n)) for n in range(count)]
    assert [finish(process) for process in processes] == [(0, "")] * count  # and none of MLflow's chatter
    assert {name: run.data.metrics for name, run in runs().items()} == {
        f"train {n}": {"n": float(n)} for n in range(count)
    }
    assert [each.data.metrics for each in parents()] == [{}]
    default = client().get_experiment("0").artifact_location
    assert default == (bare / "mlartifacts" / "0").as_uri()
    assert sorted(path.name for path in bare.iterdir()) == [
        "mlflow.db",
        "mlflow.db.lock",
        "params.yaml",
    ]


@pytest.mark.long
def test_processes_that_log_at_once_lose_nothing(project: Path) -> None:
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
        assert [each.value for each in history] == list(range(1, 31))
        assert len(store.list_artifacts(run.info.run_id, "pictures")) == 10


@pytest.mark.long
@pytest.mark.parametrize("served", [False, True])
def test_processes_that_use_a_new_dataset_at_once_all_succeed(
    project: Path, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    code = """
import time
own, other = sys.argv[1:]
with tracking.run("predict", [own]) as run:
    for n in range(40):
        Path(f"{own}{n}").touch()
        until = time.monotonic() + 20
        while not Path(f"{other}{n}").exists():
            assert time.monotonic() < until, "left alone"
        run.log({own: Record(dataset=Path(f"data/{n}.csv"))})
"""
    for n in range(40):
        write(f"data/{n}.csv", f"Image,Id\n{n}.jpg,w_1\n")
    with mlflow_server(f"sqlite:///{project}/mlflow.db") if served else nullcontext() as address:
        if address:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        track("explore")  # makes the parent: on a server, two that begin at once would make one each
        processes = [start(code, "a", "b"), start(code, "b", "a")]
        assert [finish(process) for process in processes] == [(0, "")] * 2
    assert [len(runs()[f"predict {name}"].inputs.dataset_inputs) for name in "ab"] == [40] * 2


@pytest.mark.slow
def test_a_kill_while_the_store_is_made_leaves_nothing_behind(bare: Path) -> None:
    for name in (".mlflow.partial.db", ".mlflow.partial.db-journal"):
        (bare / name).touch()
    track("dedup")
    assert [path.name for path in bare.iterdir() if "partial" in path.name] == []


@pytest.mark.long
def test_a_full_disk_leaves_no_half_made_store(bare: Path) -> None:
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


def test_a_store_that_is_removed_meanwhile_is_told(project: Path) -> None:
    with (
        pytest.raises(
            WhaleidError,
            match=r"mlflow\.db: the file was removed while the stage ran\nFix this, set MLFLOW_TRACKING_URI",
        ),
        tracking.run("train", ["toy"]) as run,
    ):
        run.log_epoch(1, {"loss": 2.0})
        Path("mlflow.db").unlink()
        run.log_epoch(2, {"loss": 1.0})
    assert not Path("mlflow.db").exists()


def kill(stage: str, *items: str) -> None:
    """Leave runs as a process leaves them that is killed outright."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking.Run, "end", lambda *_: None)
        with tracking.run(stage, items or [None]) as run:
            if len(items) == 1:
                run.log_epoch(1, {"loss": 2.0})


def statuses() -> list[tuple[str, str]]:
    """Return the name and status of each run but the parents."""
    found = [run.info for run in stored() if "mlflow.parentRunId" in run.data.tags]
    return sorted((run.run_name, run.status) for run in found)


def test_a_killed_run_ends_when_its_stage_starts_again_at_its_last_metric(project: Path) -> None:
    kill("train", "toy")
    [left] = [run for run in stored() if run.info.status == "RUNNING"]
    [logged] = client().get_metric_history(left.info.run_id, "loss")
    track("train", "toy")
    assert statuses() == [("train toy", "FINISHED"), ("train toy", "KILLED")]
    assert client().get_run(left.info.run_id).info.end_time == logged.timestamp
    assert [parent.info.status for parent in parents()] == ["FINISHED"]


def test_a_killed_run_without_metrics_ends_when_it_began(project: Path) -> None:
    kill("predict", "toy", "full")
    left = {run.info.run_id: run.info.start_time for run in stored() if run.info.status == "RUNNING"}
    assert len(left) == 2
    with tracking.run("predict", ["full", "toy"]):
        pass
    assert {run: client().get_run(run).info.end_time for run in left} == left
    assert {client().get_run(run).info.status for run in left} == {"KILLED"}


def test_the_parent_of_another_execution_is_shown_as_killed(project: Path) -> None:
    kill("dedup")
    killed = parent("dedup").info.run_id
    write("params.yaml", "threshold: 0.3\n")
    track("dedup")
    assert {run.info.run_id == killed: run.info.status for run in parents()} == {True: "KILLED", False: "FINISHED"}


@pytest.mark.parametrize("collected", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_killed_run_ends_without_its_parent(project: Path, collected: bool) -> None:
    kill("train", "toy")
    removed = parent("train toy").info.run_id
    client().delete_run(removed)
    if collected:
        command = [sys.executable, "-m", "mlflow", "gc", "--tracking-uri", "sqlite:///mlflow.db"]
        command += ["--backend-store-uri", "sqlite:///mlflow.db", "--run-ids", removed]
        subprocess.run(command, check=True, capture_output=True, timeout=100)
    track("train", "toy")
    assert statuses() == [("train toy", "FINISHED"), ("train toy", "KILLED")]


def test_a_parent_whose_later_stage_has_ended_keeps_that_status(project: Path) -> None:
    kill("train", "toy")
    track("embed", "full")
    killed = parent("train toy").info
    write("params.yaml", "threshold: 0.3\n")
    track("train", "toy")
    after = client().get_run(killed.run_id).info
    assert (after.status, after.end_time) == ("FINISHED", killed.end_time)


def test_runs_of_another_item_or_stage_are_left_alone(project: Path) -> None:
    with tracking.run("train", ["toy"]):
        track("train", "full")
        track("embed", "toy")
        assert runs()["train toy"].info.status == "RUNNING"
    assert runs()["train toy"].info.status == "FINISHED"


def test_runs_of_another_folder_or_host_are_left_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_run_that_was_at_work_after_all_is_shown_as_it_ends(project: Path) -> None:
    with tracking.run("train", ["toy"]) as run:
        track("train", "toy")
        assert statuses() == [("train toy", "FINISHED"), ("train toy", "KILLED")]
        run.log_epoch(1, {"loss": 2.0})
    assert statuses() == [("train toy", "FINISHED"), ("train toy", "FINISHED")]
