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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from filelock import FileLock

from whaleid import alive, starting, views
from whaleid.core import files, log, paths, ranks
from whaleid.core.errors import WhaleidError
from whaleid.core.record import Record, Report, Summary
from whaleid.core.switches import switched_on

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
MAX_NAMED_PARAMS = 2
"""Changed parameters that a parent's name lists; of more, it says how many."""
LOCK_SECONDS = 120
"""How long a process waits while others open the store; making a new one takes seconds."""


class Run:
    """An execution that is not tracked: it takes everything and keeps nothing."""

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Track the `figures` of `epoch` (from 1) while the stage runs."""

    def log(self, record: Record) -> None:
        """Track what the stage leaves in its only run."""

    def log_each(self, records: Mapping[str, Record]) -> None:
        """Track what the stage leaves for each of its items, in the run of that item."""

    def attach(self, records: Mapping[str, Record]) -> None:
        """Add each record's artifacts to the run that wrote the file that `Record.report` names."""

    def summarise(self, summary: Summary) -> None:
        """Show `summary` in the parent; a description that a person wrote is kept."""


@contextmanager
def run(stage: str, items: Sequence[str | None] = (None,), setting: str = "") -> Iterator[Run]:
    """Track an execution of `stage`: open the store before the work, close the runs after it.

    There is a run for each of `items`, such as a variant, all below one parent. `setting` goes into their names: what
    they are to be distinguished by from others of the same stage and item.

    The store is MLFLOW_TRACKING_URI, else `mlflow.db` in DVC's root, else in the working directory.
    Of several processes, the first one tracks. An exception of the block passes through unchanged, and the runs are
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
        tracked = _begin(stage, items, setting)
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
    """The runs of a stage in an MLflow store."""

    client: MlflowClient
    uri: str
    experiment: str
    ids: Mapping[str | None, str]
    """By item; None stands for the only run of a stage without items."""
    parent: str
    tags: Mapping[str, str]
    """Those that all runs of this execution share."""
    stage: str
    sign: alive.Sign
    epoch: int = 0

    @property
    def id(self) -> str:
        """The only run."""
        (only,) = self.ids.values()
        return only

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Track the `figures` of `epoch` in the only run."""
        self.epoch = epoch
        with self._reached():
            self.sign.renew()
            self._log_batch(self.id, figures, {}, {})

    def log(self, record: Record) -> None:
        """Track what the stage leaves in its only run, with links to the runs that wrote what it read."""
        (item,) = self.ids
        with self._reached():
            self._log(item, record)

    def log_each(self, records: Mapping[str, Record]) -> None:
        """Track what the stage leaves for each of its items, in the run of that item."""
        with self._reached():
            for item, record in records.items():
                self._log(item, record)

    def attach(self, records: Mapping[str, Record]) -> None:
        """Add each record's artifacts to the run that wrote the file that `Record.report` names.

        Where there is none, as in a fresh store, they get a run of their own.
        """
        with self._reached():
            for item, record in records.items():
                assert record.report is not None
                home = self._find_writer(record.report.wrote) or self._find_page(record.report)
                if home is None:
                    tags = {**self.tags, PARENT_RUN: self.parent, "whaleid.stage": self.stage, "whaleid.variant": item}
                    home = _create(self.client, self.experiment, f"{self.stage} {item}", tags)
                    self.client.set_terminated(home)
                for path in record.artifacts:
                    self.client.log_artifact(home, str(path))
                self.client.set_tag(home, f"page.{record.report.name}", _md5(record.report.wrote))

    def summarise(self, summary: Summary) -> None:
        """Show `summary` in the runs' parent; a description that a person wrote is kept."""
        with self._reached():
            parent = self.client.get_run(self.parent)
            if parent.info.lifecycle_stage != "active":  # someone deleted it meanwhile
                return
            tags = _unchanged(parent.data.tags, {DESCRIPTION: summary.description})
            self._log_batch(self.parent, summary.metrics, {}, tags)
            for name, text in summary.pages.items():
                self.client.log_text(self.parent, text, name)

    def end(self, status: str) -> None:
        """Close the runs as FINISHED, FAILED or KILLED; the parent ends with them, as the last of its stages so far."""
        with self._reached():
            for each in self.ids.values():
                self.client.set_terminated(each, status)
            _end_parent(self.client, self.parent, status)
            self.sign.take_down()

    def _log(self, item: str | None, record: Record) -> None:
        run = self.ids[item]
        variant = {"variant": item} if item else {}
        links = {f"output.{path.as_posix()}": _md5(path) for path in record.outputs}
        inputs = [path for path in record.inputs if path.exists()]  # others were not fetched: the stage did without
        links |= {f"input.{path.as_posix()}": self._find_writer(path) or _md5(path) for path in inputs}
        if record.report is not None and (home := self._find_page(record.report)):
            page = f"#/experiments/{self.experiment}/runs/{home}/artifacts/{record.report.name}"
            links[DESCRIPTION] = f"[Its page: any threshold, curves, contact sheets]({page})"
        self._log_batch(run, record.metrics, {**variant, **record.params}, links)
        for path in record.artifacts:
            if path.is_dir():
                self.client.log_artifacts(run, str(path), artifact_path=path.name)
            else:
                self.client.log_artifact(run, str(path))
        if record.dataset and record.dataset.exists():
            self._log_dataset(run, record.dataset)

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
        self, run: str, metrics: Mapping[str, float], params: Mapping[str, object], tags: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = time.time_ns() // 1_000_000
        ordered = [key for key in views.leading() if key in metrics]
        ordered += [key for key in metrics if key not in ordered]
        self.client.log_batch(
            run,
            [Metric(key, float(f"{metrics[key]:.5g}"), now, self.epoch) for key in ordered],
            [Param(key, str(value)) for key, value in params.items()],
            [RunTag(key, value) for key, value in tags.items()],
        )

    def _find_writer(self, path: Path) -> str | None:
        """Return the newest run that wrote `path` with its present content.

        There is none where DVC restored the file from its cache, or where that run was deleted.
        """
        return self._find_tagged(f"output.{path.as_posix()}", _md5(path))

    def _find_page(self, report: Report) -> str | None:
        """Return the run that has the page, else the one that it will be attached to."""
        if not report.wrote.exists():
            return None
        return self._find_tagged(f"page.{report.name}", _md5(report.wrote)) or self._find_writer(report.wrote)

    def _find_tagged(self, tag: str, value: str) -> str | None:
        newest = self.client.search_runs([self.experiment], f"tags.`{tag}` = '{value}'", max_results=1)
        return str(newest[0].info.run_id) if newest else None

    def _log_dataset(self, run: str, manifest: Path) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        name = manifest.as_posix()
        dataset = Dataset(name, _md5(manifest), "local", json.dumps({"uri": name}))
        context = InputTag("mlflow.data.context", CONTEXTS.get(self.stage, "catalogue"))
        used = [DatasetInput(dataset, [context])]
        # MLflow looks whether the store has the dataset, and then adds it: another one must not add it in between
        with alone(store()[1]):
            try:
                self.client.log_inputs(run, used)
            except MlflowException as error:
                if error.error_code != "BAD_REQUEST":
                    raise
                self.client.log_inputs(run, used)  # on a server another may have added it: it is there now


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


def _begin(stage: str, items: Sequence[str | None], setting: str) -> MlflowRun:
    """Open the store and begin the runs of a stage below their parent."""
    from mlflow.tracking import MlflowClient

    uri, database = store()
    execution = _execution()
    with mendable(uri), impatience():
        with alone(database):
            if database:
                _make_or_check(database)
            client = MlflowClient(uri)
            experiment = _experiment(client, database)
            _end_killed(client, experiment, uri)
            sign = alive.Sign(_root() / SIGNS, _digest(uri))
            parent = _parent(client, experiment, execution, sign.token)
        ids = {}
        for item in items:
            own = {"whaleid.stage": stage, "whaleid.variant": item or "", "dvc.stage": os.environ.get("DVC_STAGE", "")}
            tags = {**execution.tags, **own, PROCESS: sign.token, PARENT_RUN: parent}
            name = " ".join(part for part in (stage, item, setting) if part)
            ids[item] = _create(client, experiment, name, {key: value for key, value in tags.items() if value})
    return MlflowRun(client, uri, experiment, ids, parent, execution.tags, stage, sign)


def _end_killed(client: MlflowClient, experiment: str, uri: str) -> None:
    """End, as KILLED, the runs that this project began and whose process is gone: when it was last heard of."""
    for token, heard in alive.left_behind(_root() / SIGNS, _digest(uri)):
        theirs = f"tags.`{PROCESS}` = '{token}' and attributes.status = 'RUNNING'"
        for each in client.search_runs([experiment], theirs):
            ended = max(heard, each.info.start_time)
            client.set_terminated(each.info.run_id, "KILLED", ended)
            if parent := each.data.tags.get(PARENT_RUN):
                _end_parent(client, parent, "KILLED", ended)


def _end_parent(client: MlflowClient, parent: str, status: str, ended: int | None = None) -> None:
    """End a parent at the time `ended` (milliseconds since 1970), else now."""
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

    known = client.get_experiment_by_name(EXPERIMENT)
    if known is None:
        try:
            experiment = str(client.create_experiment(EXPERIMENT, _artifacts(database) if database else None))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return _experiment(client, database)  # another host was faster
    elif known.lifecycle_stage == "deleted":
        raise WhaleidError(
            f"The MLflow experiment {EXPERIMENT!r} was deleted. Bring it back with `mlflow experiments restore "
            f"--experiment-id {known.experiment_id}`, or remove it for good with `mlflow gc`."
        )
    else:
        experiment = str(known.experiment_id)
    present = known.tags if known else {}
    for key, value in _unchanged(present, {DESCRIPTION: views.description(experiment), **views.tags()}).items():
        if present.get(key) != value:
            client.set_experiment_tag(experiment, key, value)
    return experiment


def _parent(client: MlflowClient, experiment: str, execution: Execution, process: str) -> str:
    """Return the run that stands for the pipeline execution, begun and ended at once if there is none.

    Where two stages begin one at the same moment, at a server, both take the older one.
    """
    tags = {**execution.tags, "whaleid.stage": PARENT, PROCESS: process}
    this = f"tags.`whaleid.key` = '{tags['whaleid.key']}' and tags.`whaleid.stage` = '{PARENT}'"

    def oldest() -> str | None:
        parents = client.search_runs([experiment], this)
        return min(((each.info.start_time, str(each.info.run_id)) for each in parents), default=(0, None))[1]

    if known := oldest():
        return known
    begun = _create(client, experiment, execution.name(), tags)
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


@dataclass(frozen=True)
class Execution:
    """A pipeline execution: `dvc repro`, an experiment of DVC's, or a stage run by hand."""

    tags: Mapping[str, str]
    """Those that all its runs share."""
    kind: str
    baseline: str
    """The commit whose parameters it is compared with; empty where there is none."""

    def name(self) -> str:
        """Return a name that a person reads, such as `dvc repro 49a6c14` or `threshold=0.2 (crash-grot)`."""
        changed = _changed_params(self.baseline)
        if experiment := self.tags.get("dvc.experiment"):
            return f"{changed or 'as committed'} ({experiment})"
        return " ".join(part for part in (self.kind, self.baseline[:7], changed) if part)


def _execution() -> Execution:
    """Return the pipeline execution that this process is part of.

    It is distinguished from others by DVC's experiment, else (`dvc repro`) by the commit and the parameters.
    """
    commit = _git("rev-parse", "HEAD").strip()
    tags = {"mlflow.user": _user()} | ({"mlflow.source.git.commit": commit} if commit else {})
    key: tuple[str, str] = commit, _md5(paths.PARAMS)
    baseline = commit
    if name := os.environ.get("DVC_EXP_NAME"):
        baseline = os.environ.get("DVC_EXP_BASELINE_REV", "")
        key = name, baseline
        tags |= {"dvc.experiment": name, "dvc.baseline": baseline}
    kind = "dvc repro" if "DVC_STAGE" in os.environ else "whaleid"
    return Execution(tags | {"whaleid.key": _digest(repr(key))}, kind, baseline)


def _changed_params(baseline: str) -> str:
    """Return the parameters that differ from those of the commit `baseline`: `threshold=0.2`, or how many there are."""
    from whaleid.config import leaves, parse

    committed = _git("show", f"{baseline}:./{paths.PARAMS}") if baseline else ""
    if not committed:
        return ""
    try:
        before = leaves(parse(committed))
    except Exception:  # ruamel raises nearly anything; a run's name is worth no failure
        return ""
    now = leaves(parse(paths.PARAMS.read_text(encoding="utf-8")))
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    if len(changed) > MAX_NAMED_PARAMS:
        return f"{len(changed)} parameters"
    return " ".join(f"{key}={now.get(key)}" for key in changed)


def _user() -> str:
    """Return whose run it is, for those who share a server."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # a container may have no name for its user


def _git(*command: str) -> str:
    """Return what git prints; nothing where there is no git, no repository, or it refuses."""
    try:
        ended = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return ended.stdout if ended.returncode == 0 else ""


def _unchanged(present: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """Return those of `tags` to set beside those `present`: none that a person has changed in MLflow's pages."""
    ours: dict[str, str] = {}
    for key, value in tags.items():
        digest = f"whaleid.digest.{key}"
        if key not in present or present.get(digest) == _digest(present[key]):
            ours |= {key: value, digest: _digest(value)}
    return ours


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
