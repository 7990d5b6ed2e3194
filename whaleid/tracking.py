"""MLflow tracking: one run per execution of a stage and item, below one parent run per execution of the pipeline.

Runs are linked by content. A run is tagged with the md5 of each of its outputs. A later run searches for the run that
wrote an input by the md5 of the input. Outputs contain no run ids, so DVC never reruns a stage because of tracking.
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
"""Value of the tag `whaleid.stage` of parent runs."""
PARENT_RUN = "mlflow.parentRunId"
"""Tag of a run with the id of its parent run."""
DESCRIPTION = "mlflow.note.content"
"""Tag of a run or an experiment with its description in Markdown."""
CONTEXTS = {"train": "training", "calibrate": "validation", "predict": "validation"}
"""Context of the dataset in MLflow, by stage; `catalogue` for other stages."""


@dataclass
class Run:
    """The MLflow runs of one execution of a stage."""

    ids: Mapping[str | None, str]
    """Id of the run of each item, such as a variant; the key is None if the stage has no items."""
    client: MlflowClient
    uri: str
    database: Path | None
    """The SQLite file of the store; None for a server."""
    experiment: str
    """Id of the experiment."""
    parent: str
    """Id of the parent run."""
    stage: str
    epoch: int = 0
    """Step of the metrics to log."""

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an epoch, by name, in the only run. Epochs count from 1."""
        self.epoch = epoch
        (run,) = self.ids.values()
        with self._store_errors():
            self._log_batch(run, metrics, {}, {})

    def log(self, records: Mapping[str | None, Record]) -> None:
        """Log the record of each item to its run, with links to the runs that wrote its inputs."""
        with self._store_errors():
            for item, record in records.items():
                self._log(item, self.ids[item], record)

    def attach(self, records: Mapping[str, Record]) -> None:
        """Log the artifacts of each record to the run that calibrated the prediction, if the store has it."""
        with self._store_errors():
            for record in records.values():
                if record.report and (run := self._find_writer(record.report.calibration_output)):
                    for path in record.artifacts:
                        self.client.log_artifact(run, str(path))
                    self.client.set_tag(run, f"page.{record.report.name}", _md5(record.report.calibration_output))

    def summarise(self, summary: Summary) -> None:
        """Log `summary` to the parent run. A description that a user has edited is kept."""
        with self._store_errors():
            for parent in _find_run(self.client, self.experiment, self.parent):
                description = _without_edited(parent.data.tags, {DESCRIPTION: summary.description})
                self._log_batch(self.parent, summary.metrics, {}, description)

    def end(self, status: str) -> None:
        """End the runs and their parent run with `status`: FINISHED, FAILED or KILLED."""
        with self._store_errors():
            for run in self.ids.values():
                self.client.set_terminated(run, status)
            for parent in _find_run(self.client, self.experiment, self.parent):
                self.client.set_terminated(parent.info.run_id, status)

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Translate errors of the store, and raise an error if its SQLite file was removed."""
        with store.translate_errors(self.uri, MlflowException):
            try:
                yield
            finally:
                if self.database and not self.database.exists():  # SQLite would continue to write to the deleted file
                    raise FileNotFoundError("the file was removed while the stage ran")

    def _log(self, item: str | None, run: str, record: Record) -> None:
        tags = {f"output.{path.as_posix()}": _md5(path) for path in record.outputs}
        # inputs that were not pulled from the DVC remote are missing: the stage ran without them
        inputs = [path for path in record.inputs if path.exists()]
        tags |= {f"input.{path.as_posix()}": self._find_writer(path) or _md5(path) for path in inputs}
        if record.report and (page_run := self._find_page(record.report)):
            page = f"#/experiments/{self.experiment}/runs/{page_run}/artifacts/{record.report.name}"
            tags[DESCRIPTION] = f"[Page of this prediction: thresholds, curves, contact sheets]({page})"
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
            self.client.log_inputs(run, inputs)  # retry: another process created the dataset at the same time

    def _find_writer(self, path: Path) -> str | None:
        """Return the newest run that wrote the current content of `path`; None if the store has none."""
        return self._find_newest(f"output.{path.as_posix()}", _md5(path))

    def _find_page(self, report: Report) -> str | None:
        """Return the run that has the page of a prediction, else the run to which `attach` will log it."""
        calibration = report.calibration_output
        if not calibration.exists():
            return None
        return self._find_newest(f"page.{report.name}", _md5(calibration)) or self._find_writer(calibration)

    def _find_newest(self, tag: str, value: str) -> str | None:
        runs = self.client.search_runs([self.experiment], f"tags.`{tag}` = '{value}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None


@contextmanager
def run(stage: str, items: Sequence[str | None] = (None,), setting: str = "") -> Iterator[Run]:
    """Track an execution of `stage`: start its runs before the block and end them after it.

    Each of `items`, such as a variant, has a run; the item is None for a stage without items. `setting` is appended to
    the names of the runs. If the block raises an exception, it propagates, and the runs end as FAILED or KILLED.

    Raises:
        WhaleidError: the store cannot be reached, read or written. A server has a few seconds to answer at the start.
    """
    tracked = _start(stage, items, setting)
    try:
        yield tracked
        tracked.end("FINISHED")
    except BaseException as error:
        try:
            with store.brief_retries():
                tracked.end("KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED")
        except WhaleidError as end_error:
            error.add_note(str(end_error))
        raise


def _start(stage: str, items: Sequence[str | None], setting: str) -> Run:
    """Open the store and start the runs of a stage below their parent run."""
    uri, database = store.address()
    shared = execution.tags()
    # identifies runs that a killed stage left open; hashed, because a path may contain quotes
    location = _digest(f"{socket.gethostname()}:{Path.cwd()}")
    stage_tags = {"whaleid.stage": stage, "whaleid.place": location, "dvc.stage": os.environ.get("DVC_STAGE", "")}
    with store.translate_errors(uri, MlflowException), store.brief_retries():
        with store.lock(database):
            if database:
                _create_or_check(database)
            client = MlflowClient(uri)
            experiment = _get_experiment(client, database)
            parent = _get_parent(client, experiment, shared)
        _end_killed(client, experiment, stage, items, location)
        ids = {}
        for item in items:
            tags = {**shared, **stage_tags, "whaleid.variant": item or "", PARENT_RUN: parent}
            name = " ".join(part for part in (stage, item, setting) if part)
            ids[item] = _create_run(client, experiment, name, tags)
    return Run(ids, client, uri, database, experiment, parent, stage)


def _create_run(client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str]) -> str:
    """Create a run with the `tags` that are not empty; return its id."""
    run = client.create_run(experiment, run_name=name, tags={key: value for key, value in tags.items() if value})
    return str(run.info.run_id)


def _end_killed(client: MlflowClient, experiment: str, stage: str, items: Sequence[str | None], location: str) -> None:
    """End the runs that killed executions for these items left open, as KILLED.

    DVC never executes a stage twice at the same time in a folder, so an open run is not in progress. The end time is
    the time of its last metric. The parent run gets the same status and time, unless a later stage has ended it.
    """
    stage_runs = f"tags.`whaleid.stage` = '{stage}' and tags.`whaleid.place` = '{location}'"
    for run in client.search_runs([experiment], f"{stage_runs} and attributes.status = 'RUNNING'"):
        if run.data.tags.get("whaleid.variant") in items:
            histories = [client.get_metric_history(run.info.run_id, key) for key in run.data.metrics]
            ended = max([run.info.start_time, *(metric.timestamp for history in histories for metric in history)])
            client.set_terminated(run.info.run_id, "KILLED", ended)
            for parent in _find_run(client, experiment, run.data.tags[PARENT_RUN]):
                if (parent.info.end_time or 0) <= ended:
                    client.set_terminated(parent.info.run_id, "KILLED", ended)


def _find_run(client: MlflowClient, experiment: str, run: str) -> list[entities.Run]:
    """Return a list with the run of this id, empty if the run was deleted."""
    return list(client.search_runs([experiment], f"attributes.run_id = '{run}'"))


def _create_or_check(database: Path) -> None:
    """Create the store atomically, or raise an error if the file is not a database: MLflow would retry for minutes."""
    if not database.exists():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        for leftover in database.parent.glob(f".{database.stem}.partial{database.suffix}*"):  # a killed process left it
            leftover.unlink()
        with files.replacing(database) as new:
            SqlAlchemyStore(store.sqlite_uri(new), _artifacts(database)).engine.dispose()  # type: ignore[no-untyped-call]
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")


def _artifacts(database: Path) -> str:
    """Return the URI of the artifacts of a local store, since MLflow's default depends on the working directory."""
    return database.with_name("mlartifacts").as_uri()


def _get_experiment(client: MlflowClient, database: Path | None) -> str:
    """Return the id of the experiment; create it and update its description and views if necessary."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        artifacts = _artifacts(database) if database else None  # a server has its own default
        experiment = client.get_experiment(client.create_experiment(EXPERIMENT, artifacts))
    experiment_id = str(experiment.experiment_id)
    if experiment.lifecycle_stage == "deleted":
        raise WhaleidError(
            f"The MLflow experiment {EXPERIMENT!r} was deleted. Restore it with `mlflow experiments restore "
            f"--experiment-id {experiment_id}`, or remove it permanently with `mlflow gc`."
        )
    tags = {DESCRIPTION: views.description(experiment_id), **views.tags()}
    for key, value in _without_edited(experiment.tags, tags).items():
        if experiment.tags.get(key) != value:
            client.set_experiment_tag(experiment_id, key, value)
    return experiment_id


def _without_edited(current: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """Return the `tags` to set, each with a digest, except those whose `current` value a user has edited in MLflow."""
    result: dict[str, str] = {}
    for key, value in tags.items():
        digest = f"whaleid.digest.{key}"
        if key not in current or current.get(digest) == _digest(current[key]):
            result |= {key: value, digest: _digest(value)}
    return result


def _get_parent(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> str:
    """Return the id of the oldest parent run of the pipeline execution; create and end one if there is none."""
    same_execution = f"tags.`whaleid.key` = '{tags['whaleid.key']}' and tags.`whaleid.stage` = '{PARENT}'"
    oldest = ["attributes.start_time ASC"]
    parents = client.search_runs([experiment], same_execution, order_by=oldest)
    if not parents:
        client.set_terminated(_create_run(client, experiment, execution.name(tags), {**tags, "whaleid.stage": PARENT}))
        # search again: two hosts may have created one at the same time
        parents = client.search_runs([experiment], same_execution, order_by=oldest)
    return str(parents[0].info.run_id)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _digest(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
