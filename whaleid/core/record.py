"""The values that a stage returns for logging. Stages do not import MLflow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

LogEpoch = Callable[[int, Mapping[str, float]], None]
"""A function that logs the metrics of an epoch, by name, during training. Epochs count from 1."""


class Report(NamedTuple):
    """The HTML page of a prediction. MLflow shows it in the run that calibrated the prediction."""

    name: str
    """File name of the page."""
    calibration_output: Path
    """An output of the calibration. Its content identifies the run that wrote it."""


@dataclass(frozen=True)
class Record:
    """The values to log for one execution of a stage."""

    params: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Parameters of this stage only, by name."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of this stage only, by name."""
    artifacts: Sequence[Path] = ()
    """Files and folders to upload to MLflow."""
    inputs: Sequence[Path] = ()
    """Files that the stage read. Their content links this run to the runs that wrote them."""
    outputs: Sequence[Path] = ()
    """Files that the stage wrote. Their content links this run to the runs that read them."""
    dataset: Path | None = None
    """The table (`Image,Id`) that the stage was trained or evaluated on."""
    report: Report | None = None
    """The page of the prediction, if the record belongs to a prediction."""


@dataclass(frozen=True)
class Summary:
    """The values that the parent run of a pipeline execution shows.

    `metrics` are added to the metrics of the parent run. `description` (Markdown) replaces its description.
    """

    metrics: Mapping[str, float]
    description: str
