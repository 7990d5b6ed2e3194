"""The project's runs in MLflow: one for each execution of a stage, below a parent for each execution of the pipeline.

Runs are linked by content: a run is tagged with the md5 of each output, and a later run looks up, by the md5 of what it
read, which run wrote it. No run id enters an output, so tracking never makes a stage run again.
"""

import hashlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow import entities
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from whaleid.core import execution, files, store
from whaleid.core.errors import WhaleidError
from whaleid.core.record import Record, Report, Summary
from whaleid.report import views

EXPERIMENT = "whaleid"
PARENT = "pipeline"
"""The stage that a parent is tagged with."""
PARENT_RUN = "mlflow.parentRunId"
DESCRIPTION = "mlflow.note.content"
"""The tag whose Markdown MLflow shows above a run or an experiment."""
CONTEXTS = {"train": "training", "calibrate": "validation", "predict": "validation"}
"""What a stage uses its dataset for; other stages only describe it."""


@dataclass
class Run:
    """The runs of one execution of a stage."""

    ids: Mapping[str | None, str]
    """The run of each item; the key is None where the stage has no items."""
    client: MlflowClient
    uri: str
    database: Path | None
    experiment: str
    parent: str
    stage: str
    epoch: int = 0

    def log_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Log the `figures` of `epoch` (from 1) in the only run, while the stage runs."""
        self.epoch = epoch
        (run,) = self.ids.values()
        with self._reached():
            self._log_batch(run, figures, {}, {})

    def log(self, records: Mapping[str | None, Record]) -> None:
        """Log the record of each item in its run, with links to the runs that wrote its inputs."""
        with self._reached():
            for item, record in records.items():
                self._log(item, self.ids[item], record)

    def attach(self, records: Mapping[str, Record]) -> None:
        """Add the artifacts of each record to the run that wrote its `calibration_output`, if the store has it."""
        with self._reached():
            for record in records.values():
                if record.report and (home := self._writer(record.report.calibration_output)):
                    for path in record.artifacts:
                        self.client.log_artifact(home, str(path))
                    self.client.set_tag(home, f"page.{record.report.name}", _md5(record.report.calibration_output))

    def summarise(self, summary: Summary) -> None:
        """Show `summary` in the parent; a description that a person wrote stays."""
        with self._reached():
            for parent in _find(self.client, self.experiment, self.parent):
                description = _unedited(parent.data.tags, {DESCRIPTION: summary.description})
                self._log_batch(self.parent, summary.metrics, {}, description)

    def end(self, status: str) -> None:
        """End the runs as FINISHED, FAILED or KILLED, and the parent with them."""
        with self._reached():
            for run in self.ids.values():
                self.client.set_terminated(run, status)
            for parent in _find(self.client, self.experiment, self.parent):
                self.client.set_terminated(parent.info.run_id, status)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        with store.translate_errors(self.uri, MlflowException):
            try:
                yield
            finally:
                if self.database and not self.database.exists():  # SQLite would go on writing to the deleted file
                    raise FileNotFoundError("the file was removed while the stage ran")

    def _log(self, item: str | None, run: str, record: Record) -> None:
        tags = {f"output.{path.as_posix()}": _md5(path) for path in record.outputs}
        # inputs that were not pulled from the DVC remote are missing: the stage did without them
        inputs = [path for path in record.inputs if path.exists()]
        tags |= {f"input.{path.as_posix()}": self._writer(path) or _md5(path) for path in inputs}
        if record.report and (home := self._page(record.report)):
            page = f"#/experiments/{self.experiment}/runs/{home}/artifacts/{record.report.name}"
            tags[DESCRIPTION] = f"[Its page: thresholds in steps of 0.005, curves, contact sheets]({page})"
        self._log_batch(run, record.metrics, {**({"variant": item} if item else {}), **record.params}, tags)
        for path in record.artifacts:
            self.client.log_artifact(run, str(path))
        if record.dataset and record.dataset.exists():
            self._log_dataset(run, record.dataset)

    def _log_batch(
        self, run: str, metrics: Mapping[str, float], params: Mapping[str, object], tags: Mapping[str, str]
    ) -> None:
        now = time.time_ns() // 1_000_000
        ordered = dict.fromkeys([*(key for key in views.first_metrics() if key in metrics), *metrics])
        self.client.log_batch(
            run,
            [Metric(key, float(f"{metrics[key]:.5g}"), now, self.epoch) for key in ordered],
            [Param(key, str(value)) for key, value in params.items()],
            [RunTag(key, value) for key, value in tags.items()],
        )

    def _log_dataset(self, run: str, manifest: Path) -> None:
        name = manifest.as_posix()
        dataset = Dataset(name, _md5(manifest), "local", json.dumps({"uri": name}))
        context = InputTag("mlflow.data.context", CONTEXTS.get(self.stage, "catalogue"))
        inputs = [DatasetInput(dataset, [context])]
        try:
            self.client.log_inputs(run, inputs)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            self.client.log_inputs(run, inputs)  # another process added the dataset after MLflow had looked for it

    def _writer(self, path: Path) -> str | None:
        """Return the newest run that wrote `path` with its present content; None if DVC took it from its cache."""
        return self._newest(f"output.{path.as_posix()}", _md5(path))

    def _page(self, report: Report) -> str | None:
        """Return the run that has the page, else the one that it will be attached to."""
        if not report.calibration_output.exists():
            return None
        return self._newest(f"page.{report.name}", _md5(report.calibration_output)) or self._writer(
            report.calibration_output
        )

    def _newest(self, tag: str, value: str) -> str | None:
        runs = self.client.search_runs([self.experiment], f"tags.`{tag}` = '{value}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None


@contextmanager
def run(stage: str, items: Sequence[str | None] = (None,), setting: str = "") -> Iterator[Run]:
    """Track an execution of `stage`: begin its runs before the block, end them after it.

    There is a run for each of `items`, such as a variant, all below one parent. `setting` is added to their names. An
    exception of the block passes through, and the runs end as FAILED or KILLED.

    Raises:
        WhaleidError: the store cannot be reached, read or written. At the start, a server has seconds to answer.
    """
    tracked = _begin(stage, items, setting)
    try:
        yield tracked
        tracked.end("FINISHED")
    except BaseException as error:
        try:
            with store.brief_retries():
                tracked.end("KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED")
        except WhaleidError as another:
            error.add_note(str(another))
        raise


def _begin(stage: str, items: Sequence[str | None], setting: str) -> Run:
    """Open the store and begin the runs of a stage below their parent."""
    uri, database = store.address()
    shared = execution.tags()
    # of a stage that was killed, the same in its next execution; hashed, since a path may hold quotes
    place = _digest(f"{socket.gethostname()}:{Path.cwd()}")
    own = {"whaleid.stage": stage, "whaleid.place": place, "dvc.stage": os.environ.get("DVC_STAGE", "")}
    with store.translate_errors(uri, MlflowException), store.brief_retries():
        with store.lock(database):
            if database:
                _make_or_check(database)
            client = MlflowClient(uri)
            experiment = _experiment(client, database)
            parent = _parent(client, experiment, shared)
        _end_killed(client, experiment, stage, items, place)
        ids = {}
        for item in items:
            tags = {**shared, **own, "whaleid.variant": item or "", PARENT_RUN: parent}
            name = " ".join(part for part in (stage, item, setting) if part)
            ids[item] = _create(client, experiment, name, tags)
    return Run(ids, client, uri, database, experiment, parent, stage)


def _create(client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str]) -> str:
    """Begin a run with the `tags` that are not empty; return its id."""
    run = client.create_run(experiment, run_name=name, tags={key: value for key, value in tags.items() if value})
    return str(run.info.run_id)


def _end_killed(client: MlflowClient, experiment: str, stage: str, items: Sequence[str | None], place: str) -> None:
    """End, as KILLED, the runs that earlier executions for these items left open: DVC lets no two run at once.

    A run ends at the time of its last metric, its parent as well, unless a later stage has ended that since.
    """
    left = f"tags.`whaleid.stage` = '{stage}' and tags.`whaleid.place` = '{place}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment], left):
        if run.data.tags.get("whaleid.variant") in items:
            histories = [client.get_metric_history(run.info.run_id, key) for key in run.data.metrics]
            ended = max([run.info.start_time, *(metric.timestamp for history in histories for metric in history)])
            client.set_terminated(run.info.run_id, "KILLED", ended)
            for parent in _find(client, experiment, run.data.tags[PARENT_RUN]):
                if (parent.info.end_time or 0) <= ended:
                    client.set_terminated(parent.info.run_id, "KILLED", ended)


def _find(client: MlflowClient, experiment: str, run: str) -> list[entities.Run]:
    """Return the run with that id, unless it was deleted."""
    return list(client.search_runs([experiment], f"attributes.run_id = '{run}'"))


def _make_or_check(database: Path) -> None:
    """Make a new store whole or not at all, and raise if the file is no database: MLflow would retry for minutes."""
    if not database.exists():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        for leftover in database.parent.glob(f".{database.stem}.partial{database.suffix}*"):  # of a kill
            leftover.unlink()
        with files.replacing(database) as new:
            SqlAlchemyStore(f"sqlite:///{new}", _artifacts(database)).engine.dispose()  # type: ignore[no-untyped-call]
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")


def _artifacts(database: Path) -> str:
    """Return where a local store keeps artifacts; MLflow's default is the working directory of the first run."""
    return database.with_name("mlartifacts").as_uri()


def _experiment(client: MlflowClient, database: Path | None) -> str:
    """Return the id of the experiment, with its description and views; a server decides where its artifacts go."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        created = client.create_experiment(EXPERIMENT, _artifacts(database) if database else None)
        experiment = client.get_experiment(created)
    number = str(experiment.experiment_id)
    if experiment.lifecycle_stage == "deleted":
        raise WhaleidError(
            f"The MLflow experiment {EXPERIMENT!r} was deleted. Bring it back with `mlflow experiments restore "
            f"--experiment-id {number}`, or remove it for good with `mlflow gc`."
        )
    for key, value in _unedited(experiment.tags, {DESCRIPTION: views.description(number), **views.tags()}).items():
        if experiment.tags.get(key) != value:
            client.set_experiment_tag(number, key, value)
    return number


def _unedited(present: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """Return the `tags` to set, each with a digest, but those that a person has edited in MLflow since."""
    ours: dict[str, str] = {}
    for key, value in tags.items():
        digest = f"whaleid.digest.{key}"
        if key not in present or present.get(digest) == _digest(present[key]):
            ours |= {key: value, digest: _digest(value)}
    return ours


def _parent(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> str:
    """Return the oldest run that stands for the pipeline execution; if there is none, create one that ends at once."""
    same = f"tags.`whaleid.key` = '{tags['whaleid.key']}' and tags.`whaleid.stage` = '{PARENT}'"
    oldest = ["attributes.start_time ASC"]
    parents = client.search_runs([experiment], same, order_by=oldest)
    if not parents:
        client.set_terminated(_create(client, experiment, execution.name(tags), {**tags, "whaleid.stage": PARENT}))
        parents = client.search_runs([experiment], same, order_by=oldest)  # two hosts that create one at once share it
    return str(parents[0].info.run_id)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _digest(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
