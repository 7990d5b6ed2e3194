"""Runs of stages, read back from real SQLite stores."""

import hashlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path

import pytest
from mlflow.entities import Run, RunStatus
from mlflow.tracking import MlflowClient
from servers import mlflow_server

from whaleid import tracking
from whaleid.core.errors import WhaleidError
from whaleid.core.record import LogEpoch, Record
from whaleid.summary import Summary

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


def runs(database: Path = Path("mlflow.db")) -> dict[str, Run]:
    """Return the runs by name; fails where two have the same."""
    store = client(database)
    found = store.search_runs([store.get_experiment_by_name("whaleid").experiment_id])
    names = [run.info.run_name for run in found]
    assert len(set(names)) == len(names)
    return dict(zip(names, found, strict=True))


def track(stage: str, variant: str | None = None, record: Record = Record()) -> None:  # noqa: B008 (frozen)
    with tracking.run(stage, variant) as run:
        run.log(record)


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run `code` in a Python process of its own, in the working directory."""
    head = (
        "import sys\nfrom pathlib import Path\nfrom whaleid import tracking\nfrom whaleid.core.record import Record\n"
    )
    command = [sys.executable, "-c", head + code, *arguments]
    path = {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(
        command, env={**os.environ, **path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


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
        metrics={"map5": 0.5, "seconds": 3},
        artifacts=[Path("reports/toy/curve.png"), Path("reports/explore")],
        dataset=manifest,
    )
    track("predict", "toy", record)

    run = runs()["predict toy"]
    assert run.info.status == "FINISHED"
    assert run.data.params == {"variant": "toy", "threshold": "0.2", "leaks": "True", "init": "toy"}
    assert run.data.metrics == {"map5": 0.5, "seconds": 3.0}
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


def test_a_stage_without_a_variant_has_neither_tag_nor_parameter(project: Path) -> None:
    track("dedup", None, Record(params={"max_distance": 6}))
    run = runs()["dedup"]
    assert run.data.params == {"max_distance": "6"}
    assert "whaleid.variant" not in run.data.tags


def test_epochs_are_steps_and_the_last_figures_stand_at_the_last(project: Path) -> None:
    with tracking.run("train", "toy") as run:
        run.log_epoch(1, {"loss": 2.5, "rate": 0.1})
        run.log_epoch(2, {"loss": 1.5, "rate": 0.2})
        run.log(Record(metrics={"photos_per_second": 40.0}, dataset=write("data/unique.csv", "Image,Id\n")))

    trained = runs()["train toy"]
    assert trained.data.metrics == {"loss": 1.5, "rate": 0.2, "photos_per_second": 40.0}
    history = client().get_metric_history(trained.info.run_id, "loss")
    assert [(each.step, each.value) for each in history] == [(1, 2.5), (2, 1.5)]
    [last] = client().get_metric_history(trained.info.run_id, "photos_per_second")
    assert last.step == 2
    assert trained.inputs.dataset_inputs[0].tags[0].value == "training"


def test_stages_of_one_execution_have_one_parent(project: Path) -> None:
    track("train", "toy")
    track("predict", "toy")
    parent = runs()[md5("threshold: 0.2\n")[:7]]
    assert parent.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in parent.data.tags
    children = [run for run in runs().values() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.info.run_name for run in children} == {"train toy", "predict toy"}

    write("params.yaml", "threshold: 0.3\n")
    track("calibrate", "toy")
    other = runs()[md5("threshold: 0.3\n")[:7]]
    assert runs()["calibrate toy"].data.tags["mlflow.parentRunId"] == other.info.run_id


def test_two_stages_that_begin_a_parent_at_once_share_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = tracking._create
    rivals: list[str] = []

    def between(store: MlflowClient, experiment: str, name: str, tags: dict[str, str]) -> str:
        if tags["whaleid.stage"] == tracking.PARENT and not rivals:  # another host's, that nobody has seen yet
            rivals.append(create(store, experiment, name, tags))
        return create(store, experiment, name, tags)

    monkeypatch.setattr(tracking, "_create", between)
    monkeypatch.setattr(tracking, "alone", lambda database: nullcontext())
    with tracking.run("split"):
        pass
    assert runs()["split"].data.tags["mlflow.parentRunId"] == rivals[0]
    assert len(runs()) == 2


def test_the_parent_sums_up_what_its_stages_found(project: Path) -> None:
    def predict(variant: str, map5: float) -> None:
        def drawn(known: Collection[str]) -> Summary:
            asked.append(sorted(known))
            text = f"{variant} after {len(known)}"
            return Summary({f"map5.{variant}": map5}, f"**{text}**", {"summary.html": f"<p>{text}</p>"})

        with tracking.run("predict", variant) as run:
            run.log(Record())
            run.summarise(drawn)

    asked: list[list[str]] = []
    name = md5("threshold: 0.2\n")[:7]
    predict("toy", 0.5)
    assert runs()[name].data.metrics == {"map5.toy": 0.5}
    predict("full", 0.75)
    parent = runs()[name]
    assert asked == [[], ["map5.toy"]]
    assert parent.data.metrics == {"map5.toy": 0.5, "map5.full": 0.75}
    assert parent.data.tags["mlflow.note.content"] == "**full after 1**"
    assert parent.info.status == "FINISHED"
    assert runs()["predict full"].data.metrics == {}
    page = client().download_artifacts(parent.info.run_id, "summary.html", str(project))
    assert Path(page).read_text(encoding="utf-8") == "<p>full after 1</p>"

    # what a person writes there stays
    client().set_tag(parent.info.run_id, "mlflow.note.content", "the good one")
    client().update_run(runs()["predict toy"].info.run_id, name="older")
    predict("toy", 0.6)
    parent = runs()[name]
    assert parent.data.tags["mlflow.note.content"] == "the good one"
    assert parent.data.metrics == {"map5.toy": 0.6, "map5.full": 0.75}


def test_the_parent_ends_as_the_last_of_its_stages(project: Path) -> None:
    name = md5("threshold: 0.2\n")[:7]
    track("explore")
    begun = runs()[name].info.start_time
    with pytest.raises(ZeroDivisionError), tracking.run("train", "toy"):
        raise ZeroDivisionError
    assert runs()[name].info.status == "FAILED"
    track("embed", "toy")
    parent = runs()[name].info
    assert parent.status == "FINISHED"
    assert parent.start_time == begun
    assert parent.end_time >= runs()["embed toy"].info.end_time


def test_a_parent_that_is_deleted_meanwhile_stops_nothing(project: Path) -> None:
    with tracking.run("predict", "toy") as run:
        client().delete_run(runs()[md5("threshold: 0.2\n")[:7]].info.run_id)
        run.log(Record(metrics={"map5": 0.5}))
        run.summarise(lambda known: Summary({}, "never", {}))
    assert {each: run.info.status for each, run in runs().items()} == {"predict toy": "FINISHED"}


def test_a_setting_tells_runs_of_a_stage_apart(project: Path) -> None:
    with tracking.run("predict", "toy", "at 0.2") as run:
        run.log(Record())
    assert runs()["predict toy at 0.2"].data.tags["whaleid.variant"] == "toy"


def test_a_commit_names_the_parent_and_tags_every_run(project: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], check=True)
    track("dedup")  # no commit yet
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    track("explore")

    params = md5("threshold: 0.2\n")[:7]
    assert set(runs()) == {params, "dedup", f"{commit[:7]}-{params}", "explore"}
    assert runs()["explore"].data.tags["mlflow.source.git.commit"] == commit
    assert runs()[f"{commit[:7]}-{params}"].data.tags["mlflow.source.git.commit"] == commit


def test_a_run_tells_whose_it_is(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    track("dedup")
    assert {run.data.tags["mlflow.user"] for run in runs().values()} == {"ada"}


def test_an_experiment_of_dvc_is_one_execution(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "stiff-o'hare")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "1" * 40)
    monkeypatch.setenv("DVC_STAGE", "predict@toy")
    track("predict", "toy")
    write("params.yaml", "threshold: 0.9\n")
    track("predict", "full")
    first = runs()["stiff-o'hare"]
    assert first.data.tags["dvc.experiment"] == "stiff-o'hare"
    assert first.data.tags["dvc.baseline"] == "1" * 40
    for name in ("predict toy", "predict full"):
        tags = runs()[name].data.tags
        assert tags["mlflow.parentRunId"] == first.info.run_id
        assert (tags["dvc.experiment"], tags["dvc.stage"]) == ("stiff-o'hare", "predict@toy")

    # DVC allows the same name on another baseline
    client().update_run(first.info.run_id, name="the first")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "2" * 40)
    track("explore")
    assert runs()["explore"].data.tags["mlflow.parentRunId"] == runs()["stiff-o'hare"].info.run_id


def test_runs_are_linked_by_content(project: Path) -> None:
    model = write("models/toy.pt", "weights")
    track("train", "toy", Record(outputs=[model]))
    track("calibrate", "toy", Record(inputs=[model]))
    trained = runs()["train toy"].info.run_id
    assert runs()["train toy"].data.tags["output.models/toy.pt"] == md5("weights")
    assert runs()["calibrate toy"].data.tags["input.models/toy.pt"] == trained

    # of several writers of the same bytes, the newest that was not deleted
    client().update_run(trained, name="older")
    track("train", "toy", Record(outputs=[model]))
    newer = runs()["train toy"].info.run_id
    track("embed", "toy", Record(inputs=[model]))
    assert runs()["embed toy"].data.tags["input.models/toy.pt"] == newer
    client().delete_run(newer)
    track("predict", "toy", Record(inputs=[model]))
    assert runs()["predict toy"].data.tags["input.models/toy.pt"] == trained

    write("models/toy.pt", "weights from DVC's cache")
    track("explore", None, Record(inputs=[model]))
    assert runs()["explore"].data.tags["input.models/toy.pt"] == md5("weights from DVC's cache")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ZeroDivisionError("by zero"), "FAILED"),
        (WhaleidError("bad"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(143), "KILLED"),
    ],
)
def test_an_exception_passes_through_and_marks_the_run(project: Path, error: BaseException, status: str) -> None:
    def stage(log_epoch: LogEpoch) -> None:
        log_epoch(1, {"loss": 2.0})
        raise error

    with pytest.raises(type(error)) as caught, tracking.run("train", "toy") as run:
        stage(run.log_epoch)
    assert caught.value is error
    assert runs()["train toy"].info.status == status
    assert runs()["train toy"].data.metrics == {"loss": 2.0}


def test_an_error_of_the_tracker_stops_the_stage(project: Path) -> None:
    reached = []

    def stage(log_epoch: LogEpoch) -> None:
        client().delete_run(runs()["train toy"].info.run_id)
        log_epoch(1, {"loss": 2.0})
        reached.append("the second epoch")

    trouble = pytest.raises(WhaleidError, match=r"Tracking failed at sqlite:.*deleted")
    with trouble as caught, tracking.run("train", "toy") as run:
        stage(run.log_epoch)
    assert not reached
    assert "WHALEID_TRACKING=off" in str(caught.value)
    assert caught.value.__notes__  # the deleted run could not be marked as failed either


def test_a_missing_artifact_is_an_error(project: Path) -> None:
    with pytest.raises(WhaleidError, match=r"nowhere\.png"):
        track("predict", "toy", Record(artifacts=[Path("nowhere.png")]))
    assert runs()["predict toy"].info.status == "FAILED"


def test_off_keeps_nothing_and_imports_no_mlflow(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHALEID_TRACKING", "off")
    code = """
with tracking.run("train", "toy") as run:
    run.log_epoch(1, {"loss": 2.0})
    run.log(Record(artifacts=[Path("nowhere")]))
print([name for name in sys.modules if name.split(".")[0] == "mlflow"])
"""
    assert finish(start(code)) == (0, "[]\n")
    assert [path.name for path in bare.iterdir()] == ["params.yaml"]


def test_the_switch_knows_on_and_off(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHALEID_TRACKING", "no")
    with pytest.raises(WhaleidError, match=r"WHALEID_TRACKING is 'no': set it to on or off"):
        track("dedup")
    assert not (bare / "mlflow.db").exists()


def test_an_unreachable_server_stops_the_stage_within_seconds(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(WhaleidError, match=r"Tracking failed at http://127\.0\.0\.1:9") as caught:
        track("dedup")
    assert time.monotonic() - begun < 10
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
        begun = time.monotonic()
        with pytest.raises(WhaleidError, match="timed out"):
            track("dedup")
    assert 1 <= time.monotonic() - begun < 4
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"


@pytest.mark.parametrize("junk", ["no database at all " * 300, "SQLite format 3\0" + "?" * 5000])
def test_what_is_no_database_is_refused_and_kept(bare: Path, junk: str) -> None:
    database = write("mlflow.db", junk)
    begun = time.monotonic()
    with pytest.raises(WhaleidError, match=r"Tracking failed at sqlite:.*mlflow\.db: file is not a database"):
        track("dedup")
    assert time.monotonic() - begun < 10
    assert database.read_text() == junk


def test_a_deleted_experiment_is_named_with_its_remedy(project: Path) -> None:
    track("dedup")
    store = client()
    number = store.get_experiment_by_name("whaleid").experiment_id
    store.delete_experiment(number)
    with pytest.raises(WhaleidError, match=f"mlflow experiments restore --experiment-id {number}"):
        track("dedup")


@pytest.mark.parametrize("uri", [None, "sqlite:///mlflow.db"])
def test_the_store_stands_in_the_root_of_dvc(
    project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, uri: str | None
) -> None:
    root, workspace = project / "bär & co", project / "temporary"
    for folder in (root, workspace):
        folder.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("DVC_ROOT", str(root))
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    write("params.yaml", "threshold: 0.2\n")
    track("predict", "toy", Record(artifacts=[write("toy.csv", "Image,Id\n")]))

    run = runs(root / "mlflow.db")["predict toy"]
    assert (root / "mlartifacts" / run.info.run_id / "artifacts" / "toy.csv").read_text() == "Image,Id\n"
    assert sorted(path.name for path in workspace.iterdir()) == ["params.yaml", "toy.csv"]


def test_another_sqlite_store_holds_its_artifacts(
    project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = project / "elsewhere" / "runs.db"
    elsewhere.parent.mkdir()
    shutil.copy(empty_store, elsewhere)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    track("dedup", None, Record(artifacts=[Path("params.yaml")]))
    assert list((project / "elsewhere" / "mlartifacts").glob("*/artifacts/params.yaml"))
    assert runs(elsewhere)["dedup"].info.status == "FINISHED"


@pytest.mark.slow
def test_processes_that_open_a_new_store_at_once_all_succeed(bare: Path) -> None:
    code = 'with tracking.run("train", sys.argv[1]) as run:\n    run.log(Record(metrics={"n": int(sys.argv[1])}))\n'
    processes = [start(code, str(n)) for n in range(8)]
    assert [finish(process) for process in processes] == [(0, "")] * 8  # and none of MLflow's chatter
    parent = md5("threshold: 0.2\n")[:7]
    assert {name: run.data.metrics for name, run in runs().items()} == {
        parent: {},
        **{f"train {n}": {"n": float(n)} for n in range(8)},
    }
    default = client().get_experiment("0").artifact_location
    assert default == (bare / "mlartifacts" / "0").as_uri()
    assert sorted(path.name for path in bare.iterdir()) == [
        "mlflow.db",
        "mlflow.db.lock",
        "mlflow.running",
        "params.yaml",
    ]


@pytest.mark.slow
def test_processes_that_log_at_once_lose_nothing(project: Path) -> None:
    code = """
with tracking.run("train", sys.argv[1]) as run:
    for epoch in range(1, 31):
        run.log_epoch(epoch, {"loss": 1 / epoch, "rate": epoch})
    run.log(Record(params={"n": 1}, metrics={"last": 1.0}, artifacts=[Path("params.yaml"), Path("pictures")]))
"""
    for n in range(10):
        write(f"pictures/{n}.png", str(n))
    processes = [start(code, str(n)) for n in range(4)]
    assert [finish(process) for process in processes] == [(0, "")] * 4
    store = client()
    for n in range(4):
        run = runs()[f"train {n}"]
        assert RunStatus.is_terminated(RunStatus.from_string(run.info.status))
        history = store.get_metric_history(run.info.run_id, "rate")
        assert [each.value for each in history] == list(range(1, 31))
        assert len(store.list_artifacts(run.info.run_id, "pictures")) == 10


@pytest.mark.slow
@pytest.mark.parametrize("served", [False, True])
def test_processes_that_use_a_new_dataset_at_once_all_succeed(
    project: Path, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    code = """
import time

own, other = sys.argv[1:]
with tracking.run("predict", own) as run:
    for n in range(40):
        Path(f"{own}{n}").touch()
        until = time.monotonic() + 20
        while not Path(f"{other}{n}").exists():
            assert time.monotonic() < until, "left alone"
        run.log(Record(dataset=Path(f"data/{n}.csv")))
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
    for name in (".mlflow.999999999.partial.db", ".mlflow.999999999.partial.db-journal"):
        (bare / name).touch()
    track("dedup")
    assert [path.name for path in bare.iterdir() if "partial" in path.name] == []


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_made_store(bare: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    code = 'with tracking.run("dedup") as run:\n    run.log(Record())\n'
    command = [sys.executable, "-c", f"from whaleid import tracking\nfrom whaleid.core.record import Record\n{code}"]
    done = subprocess.run(command, preexec_fn=small_files, capture_output=True, text=True, check=False)
    assert "WhaleidError: Tracking failed at sqlite:" in done.stderr
    assert sorted(path.name for path in bare.iterdir()) == ["mlflow.db.lock", "params.yaml"]
    track("dedup")
    assert runs()["dedup"].info.status == "FINISHED"


def test_a_store_that_is_removed_meanwhile_is_told(project: Path) -> None:
    with pytest.raises(WhaleidError, match=r"mlflow\.db: the file was removed meanwhile\nMend that, name another"):  # noqa: SIM117
        with tracking.run("train", "toy") as run:
            run.log_epoch(1, {"loss": 2.0})
            Path("mlflow.db").unlink()
            run.log_epoch(2, {"loss": 1.0})
    assert not Path("mlflow.db").exists()


KILLED = """
import os, signal
with tracking.run("train", "toy") as run:
    run.log_epoch(1, {"loss": 2.0})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_its_run_to_the_next_which_ends_it(project: Path) -> None:
    assert finish(start(KILLED)) == (-signal.SIGKILL, "")
    assert runs()["train toy"].info.status == "RUNNING"
    [sign] = (project / "mlflow.running").iterdir()
    heard = 1_700_000_000_000
    os.utime(sign, ns=(heard * 10**6, heard * 10**6))
    begun = runs()["train toy"].info.start_time
    track("dedup")
    found = runs()
    # it was heard of before it began, as by another clock: it cannot have ended before
    assert (found["train toy"].info.status, found["train toy"].info.end_time) == ("KILLED", begun)
    assert found["dedup"].info.status == "FINISHED"
    assert list((project / "mlflow.running").iterdir()) == []


def test_a_killed_run_ends_when_it_was_last_heard_of(project: Path) -> None:
    before = time.time_ns() // 1_000_000
    finish(start(KILLED))
    died = time.time_ns() // 1_000_000
    track("dedup")
    run = runs()["train toy"]
    assert before <= run.info.start_time <= run.info.end_time <= died
    # the parent was over when the process was killed: dedup has ended it since
    assert runs()[md5("threshold: 0.2\n")[:7]].info.status == "FINISHED"


def test_the_parent_of_another_execution_is_shown_as_killed(project: Path) -> None:
    finish(start(KILLED))
    write("params.yaml", "threshold: 0.3\n")
    track("dedup")
    found = runs()
    assert found[md5("threshold: 0.2\n")[:7]].info.status == "KILLED"
    assert found[md5("threshold: 0.3\n")[:7]].info.status == "FINISHED"


def test_a_run_whose_process_is_there_goes_on(project: Path) -> None:
    code = """
with tracking.run("train", "toy") as run:
    Path("begun").touch()
    sys.stdin.read()
"""
    head = "import sys\nfrom pathlib import Path\nfrom whaleid import tracking\n"
    path = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", head + code], env=path, stdin=subprocess.PIPE)
    until = time.monotonic() + 60
    while not Path("begun").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    track("dedup")
    assert runs()["train toy"].info.status == "RUNNING"
    process.communicate()
    assert runs()["train toy"].info.status == "FINISHED"
    assert list((project / "mlflow.running").iterdir()) == []


def test_killed_runs_of_another_store_are_left_to_its_next_start(
    project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(start(KILLED))
    shutil.copy(empty_store, "other.db")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
        track("dedup")
    assert runs()["train toy"].info.status == "RUNNING"
    track("dedup")
    assert runs()["train toy"].info.status == "KILLED"
