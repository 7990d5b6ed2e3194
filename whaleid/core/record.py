"""What a stage returns to be logged: values only, so that no stage knows MLflow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

LogEpoch = Callable[[int, Mapping[str, float]], None]
"""Logs the number of an epoch, from 1, and its figures, while a stage runs."""


class Report(NamedTuple):
    """The page of a prediction; MLflow shows it with the run that calibrated the prediction."""

    name: str
    """The name of the page's file."""
    calibration_output: Path
    """A file by whose content the run that calibrated is recognised."""


@dataclass(frozen=True)
class Record:
    """What one execution of a stage logs.

    `params` and `metrics` are those of this stage only. `artifacts` are files or folders to look at in MLflow.
    `inputs` and `outputs` are files whose content links this run to the runs that wrote or read them.
    `dataset` is the manifest (`Image,Id`) that the stage learned from or measured on.
    """

    params: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: Sequence[Path] = ()
    inputs: Sequence[Path] = ()
    outputs: Sequence[Path] = ()
    dataset: Path | None = None
    report: Report | None = None


@dataclass(frozen=True)
class Summary:
    """What the parent of an execution's runs shows.

    `metrics` are added to the parent's. `description` (Markdown) replaces its last one.
    """

    metrics: Mapping[str, float]
    description: str
