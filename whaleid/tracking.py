"""The only room that knows MLflow: a run a stage execution, below one parent a pipeline execution.

Runs are tied to each other by content: a run is tagged with the md5 of what it wrote, a later run finds the
writer of what it read by that md5. No run id enters an output, so tracking never makes a stage run again.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from filelock import FileLock

from whaleid import alive, starting
from whaleid.core import files, log, paths, ranks
from whaleid.core.errors import WhaleidError
from whaleid.core.record import Record
from whaleid.core.switches import switched_on
from whaleid.summary import Summarise

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "whaleid"
PARENT = "pipeline"
"""The stage that a parent is tagged with."""
PARENT_RUN = "mlflow.parentRunId"
PROCESS = "whaleid.process"
"""The tag with the token of the sign of the process that began a run."""
DESCRIPTION = "mlflow.note.content"
"""The tag whose Markdown MLflow shows at the top of a run."""
CONTEXTS = {"train": "training", "calibrate": "validation", "predict": "validation"}
"""What a stage uses the manifest for; others only look at it."""
REMEDY = "Mend that, name another store in MLFLOW_TRACKING_URI, or go without: WHALEID_TRACKING=off."
SIGNS = "mlflow.running"
"""The folder in DVC's root with a sign of each process that tracks."""
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
"""MLflow's own: how often a server that does not answer is asked again."""
T = TypeVar("T")
LOCK_SECONDS = 120
"""How long a process waits while others open the store; making a new one takes seconds."""


class Run:
    """An execution that is not tracked: it takes everything and keeps nothing."""

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Track the `figures` of `epoch` (from 1) while the stage runs."""

    def log(self, record: Record) -> None:
        """Track what the stage leaves."""

    def summarise(self, draw: Summarise) -> None:
        """Show in the parent what is known of the whole execution; a description that a person wrote is kept."""


@contextmanager
def run(stage: str, variant: str | None = None, setting: str = "") -> Iterator[Run]:
    """Track an execution of `stage`: open the store before the work, close the run after it.

    `setting` goes into the run's name: what it is to be told from others of the same stage and variant by.

    The store is MLFLOW_TRACKING_URI, else `mlflow.db` in DVC's root, else in the working directory.
    Of several processes, the first one tracks. An exception of the block passes through unchanged, and the run is
    marked as failed (or killed). A process that is killed outright cannot do so: the next one of the same project does.

    Raises:
        WhaleidError: WHALEID_TRACKING is neither `on` nor `off`, or the store cannot be reached, read or
            written, then or later. A server that does not answer at the start is given up within seconds.
    """
    if not switched_on("WHALEID_TRACKING", default="on") or not ranks.first():
        yield Run()
        return
    with log.timed("tracking opened"):
        import_mlflow()
        tracked = _begin(stage, variant, setting)
    try:
        yield tracked
        tracked.end("FINISHED")
    except BaseException as error:
        try:
            with impatience():
                tracked.end("KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED")
        except WhaleidError as another:
            error.add_note(str(another))
        raise


@dataclass
class MlflowRun(Run):
    """A run of a stage in an MLflow store."""

    client: MlflowClient
    uri: str
    experiment: str
    id: str
    parent: str
    stage: str
    variant: str | None
    sign: alive.Sign
    epoch: int = 0

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Track the `figures` of `epoch` in the run."""
        self.epoch = epoch
        with self._reached():
            self.sign.renew()
            self._log_batch(figures, {}, {})

    def log(self, record: Record) -> None:
        """Track what the stage leaves in the run, with links to the runs that wrote what it read."""
        variant = {"variant": self.variant} if self.variant else {}
        with self._reached():
            links = {f"output.{path.as_posix()}": _md5(path) for path in record.outputs}
            links |= {f"input.{path.as_posix()}": self._writer(path) for path in record.inputs}
            self._log_batch(record.metrics, {**variant, **record.params}, links)
            for path in record.artifacts:
                if path.is_dir():
                    self.client.log_artifacts(self.id, str(path), artifact_path=path.name)
                else:
                    self.client.log_artifact(self.id, str(path))
            if record.dataset:
                self._log_dataset(record.dataset)

    def summarise(self, draw: Summarise) -> None:
        """Show what is known of the whole execution in the run's parent."""
        with self._reached():
            parent = self.client.get_run(self.parent)
        if parent.info.lifecycle_stage != "active":  # someone deleted it meanwhile
            return
        drawn = draw(parent.data.metrics)
        written = parent.data.tags.get(DESCRIPTION)
        ours = written is None or _digest(written) == parent.data.tags.get("whaleid.description")
        tags = {DESCRIPTION: drawn.description, "whaleid.description": _digest(drawn.description)} if ours else {}
        with self._reached():
            self._log_batch(drawn.metrics, {}, tags, self.parent)
            for name, text in drawn.pages.items():
                self.client.log_text(self.parent, text, name)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED; its parent ends with it, as the last of its stages so far."""
        with self._reached():
            _terminate(self.client, self.id, self.parent, status)
            self.sign.take_down()

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """As `mendable`; a database that was removed is told as well: SQLite may go on writing into nowhere."""
        with mendable(self.uri):
            try:
                yield
            finally:
                if self.uri.startswith("sqlite:///") and not Path(self.uri.removeprefix("sqlite:///")).exists():
                    raise FileNotFoundError("the file was removed meanwhile")

    def _log_batch(
        self,
        metrics: Mapping[str, float],
        params: Mapping[str, object],
        tags: Mapping[str, str],
        run: str | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = time.time_ns() // 1_000_000
        self.client.log_batch(
            run or self.id,
            [Metric(key, float(value), now, self.epoch) for key, value in metrics.items()],
            [Param(key, str(value)) for key, value in params.items()],
            [RunTag(key, value) for key, value in tags.items()],
        )

    def _writer(self, path: Path) -> str:
        """Return the newest run that wrote `path` with its present content, else the md5 of that content.

        There is none where DVC restored the file from its cache, or where that run was deleted.
        """
        md5 = _md5(path)
        wrote = f"tags.`output.{path.as_posix()}` = '{md5}'"
        found = self.client.search_runs([self.experiment], wrote, max_results=1)
        return str(found[0].info.run_id) if found else md5

    def _log_dataset(self, manifest: Path) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        name = manifest.as_posix()
        dataset = Dataset(name, _md5(manifest), "local", json.dumps({"uri": name}))
        context = InputTag("mlflow.data.context", CONTEXTS.get(self.stage, "catalogue"))
        used = [DatasetInput(dataset, [context])]
        # MLflow looks whether the store has the dataset, and then adds it: another one must not add it in between
        with alone(store()[1]):
            try:
                self.client.log_inputs(self.id, used)
            except MlflowException as error:
                if error.error_code != "BAD_REQUEST":
                    raise
                self.client.log_inputs(self.id, used)  # on a server another may have added it: it is there now


@cache
def import_mlflow() -> None:
    """Import MLflow: quiet, without threads of its own, and as fast as may be."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for chatter in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(chatter).setLevel(logging.CRITICAL)  # what fails is raised as well
    with starting.importing():
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _begin(stage: str, variant: str | None, setting: str) -> MlflowRun:
    """Open the store and begin the run of a stage below its parent."""
    from mlflow.tracking import MlflowClient

    uri, database = store()
    execution, shared = _execution()
    own = {"whaleid.stage": stage, "whaleid.variant": variant or "", "dvc.stage": os.environ.get("DVC_STAGE", "")}
    with mendable(uri), impatience():
        with alone(database):
            if database:
                _make_or_check(database)
            client = MlflowClient(uri)
            experiment = _experiment(client, database)
            _end_killed(client, experiment, uri)
            sign = alive.Sign(_root() / SIGNS, _digest(uri))
            own[PROCESS] = sign.token
            parent = _parent(client, experiment, execution, shared, sign.token)
        tags = {key: value for key, value in {**shared, **own}.items() if value}
        name = " ".join(part for part in (stage, variant, setting) if part)
        begun = _create(client, experiment, name, {**tags, PARENT_RUN: parent})
    return MlflowRun(client, uri, experiment, begun, parent, stage, variant, sign)


def _end_killed(client: MlflowClient, experiment: str, uri: str) -> None:
    """End, as KILLED, the runs that this project began and whose process is gone: when it was last heard of."""
    for token, heard in alive.left_behind(_root() / SIGNS, _digest(uri)):
        theirs = f"tags.`{PROCESS}` = '{token}' and attributes.status = 'RUNNING'"
        for each in client.search_runs([experiment], theirs):
            parent = each.data.tags.get(PARENT_RUN)
            _terminate(client, each.info.run_id, parent, "KILLED", max(heard, each.info.start_time))


def _terminate(client: MlflowClient, run: str, parent: str | None, status: str, ended: int | None = None) -> None:
    """End a run and its parent, if it has one, at the time `ended` (milliseconds since 1970), else now."""
    client.set_terminated(run, status, ended)
    if parent is None:
        return
    known = client.get_run(parent).info
    later = ended is not None and (known.end_time or 0) > ended  # another of its stages was the last
    if known.lifecycle_stage == "active" and not later:  # else someone deleted it meanwhile
        client.set_terminated(parent, status, ended)


def store() -> tuple[str, Path | None]:
    """Return the store's URI and, if it is an SQLite file, that file.

    A relative name is taken from DVC's root: a queued experiment's own working directory is thrown away.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if not uri.startswith("sqlite:///"):
        return uri, None
    database = _root() / uri.removeprefix("sqlite:///")
    return f"sqlite:///{database}", database


def _root() -> Path:
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


def alone(database: Path | None) -> FileLock | nullcontext[None]:
    """Keep other processes out of the same SQLite store, for what several at once would break."""
    if database is None:
        return nullcontext()
    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(database.with_name(f"{database.name}.lock"), timeout=LOCK_SECONDS)


def _make_or_check(database: Path) -> None:
    """Make a new store whole or not at all; see that an old one is a database: MLflow would try for minutes."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if not database.exists():
        # of kills in this very place, where there is one process at a time
        for stray in database.parent.glob(f".{database.stem}.*.partial{database.suffix}*"):
            stray.unlink()
        with files.replacing(database) as new:
            SqlAlchemyStore(f"sqlite:///{new}", _artifacts(database)).engine.dispose()  # type: ignore[no-untyped-call]
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")


def _artifacts(database: Path) -> str:
    """Return where a local store keeps artifacts. MLflow would take the first run's working directory."""
    return database.with_name("mlartifacts").as_uri()


def _experiment(client: MlflowClient, database: Path | None) -> str:
    """Return the id of the experiment, made if need be; a server decides where its artifacts go."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            return str(client.create_experiment(EXPERIMENT, _artifacts(database) if database else None))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return _experiment(client, database)  # another host was faster
    if found.lifecycle_stage == "deleted":
        raise WhaleidError(
            f"The MLflow experiment {EXPERIMENT!r} was deleted. Bring it back with `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or remove it for good with `mlflow gc`."
        )
    return str(found.experiment_id)


def _parent(client: MlflowClient, experiment: str, name: str, shared: Mapping[str, str], process: str) -> str:
    """Return the run that stands for the pipeline execution, begun and ended at once if there is none.

    Where two stages begin one at the same moment, at a server, both take the older one.
    """
    tags = {**shared, "whaleid.stage": PARENT, PROCESS: process}
    this = f"tags.`whaleid.key` = '{tags['whaleid.key']}' and tags.`whaleid.stage` = '{PARENT}'"

    def oldest() -> str | None:
        found = client.search_runs([experiment], this)
        return min(((each.info.start_time, str(each.info.run_id)) for each in found), default=(0, None))[1]

    if known := oldest():
        return known
    begun = _create(client, experiment, name, tags)
    client.set_terminated(begun)
    if (first := oldest() or begun) != begun:
        client.delete_run(begun)
    return first


def _create(client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str]) -> str:
    """Begin a run, and return its id."""
    token = uuid4().hex

    def begin() -> str:
        run = client.create_run(experiment, run_name=name, tags={**tags, "whaleid.begun": token})
        return str(run.info.run_id)

    def begun() -> str | None:
        found = client.search_runs([experiment], f"tags.`whaleid.begun` = '{token}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    return once(begin, begun)


def once(make: Callable[[], T], made: Callable[[], T | None]) -> T:
    """Have the store make something, once: where no answer comes, it may have been `made` all the same.

    MLflow itself would ask again, and there would be two. A store that is so slow that it gives no answer is not asked
    again: it may yet make it.
    """
    from mlflow.exceptions import MlflowException

    patience = os.environ.get(RETRIES)
    os.environ[RETRIES] = "0"
    try:
        return make()
    except MlflowException as error:
        problem = error
    finally:
        if patience is None:
            del os.environ[RETRIES]
        else:
            os.environ[RETRIES] = patience
    found = made()
    if found is None:
        if "timed out" in str(problem):
            raise problem
        found = make()
    return found


def _execution() -> tuple[str, dict[str, str]]:
    """Return the name of this pipeline execution and the tags that all its runs share.

    It is told from others by DVC's experiment, else (`dvc repro`) by the commit and the parameters.
    """
    commit, params = _commit(), _md5(paths.PARAMS)
    tags = {"mlflow.user": _user()} | ({"mlflow.source.git.commit": commit} if commit else {})
    name, key = "-".join(part[:7] for part in (commit, params) if part), (commit, params)
    if named := os.environ.get("DVC_EXP_NAME"):
        baseline = os.environ.get("DVC_EXP_BASELINE_REV", "")
        name, key = named, (named, baseline)
        tags |= {"dvc.experiment": named, "dvc.baseline": baseline}
    return name, tags | {"whaleid.key": _digest(repr(key))}


def _user() -> str:
    """Return whose run it is, for those who share a server."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # a container may have no name for its user


def _commit() -> str | None:
    """Return the commit that is checked out, or None where there is no git or no commit."""
    try:
        told = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return told.stdout.strip() if told.returncode == 0 else None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _digest(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@contextmanager
def impatience() -> Iterator[None]:
    """Give an HTTP server up within seconds. Elsewhere MLflow tries for minutes: a long training wants that."""
    brief = {RETRIES: "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}
    ours = {key: value for key, value in brief.items() if key not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for key in ours:
            del os.environ[key]


@contextmanager
def mendable(uri: str) -> Iterator[None]:
    """Turn what MLflow, the database, the network or the disk raises into an error that says what to do."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        lines = [line for line in str(error).splitlines() if "autoflush" not in line]
        first, *_ = lines or [type(error).__name__]  # the rest is SQL
        said = f"Tracking failed at {uri}: {first}\n{REMEDY}"
        raise WhaleidError(re.sub(r"://[^/@\s]+@", "://", said)) from error  # no password in a log
