"""What a stage hands over to be tracked: values only, so that no stage knows the tracker."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

LogEpoch = Callable[[int, Mapping[str, float]], None]
"""Takes the number of an epoch, from 1, and its figures, while a stage runs."""


class Report(NamedTuple):
    """A page on a prediction, which the tracker keeps with the run that wrote a file."""

    name: str
    """Of the page's file."""
    wrote: Path
    """The file: what the prediction was calibrated by."""


@dataclass(frozen=True)
class Record:
    """What one execution of a stage leaves in the tracker.

    `params` are those of this stage only; `metrics` its figures; `artifacts` files or folders worth a look there.
    `inputs` and `outputs` are files whose content links this run to the runs that made or use them.
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

    `metrics` are added to the parent's; `description` (Markdown) and `pages` (text by file name) replace the last ones.
    """

    metrics: Mapping[str, float]
    description: str
    pages: Mapping[str, str]
