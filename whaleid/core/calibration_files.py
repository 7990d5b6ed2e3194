"""Read the inputs and write the outputs of the calibration of a variant or an ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from whaleid.core import features, files, paths
from whaleid.core.features import Features
from whaleid.core.record import Record


class Inputs(NamedTuple):
    """The inputs of a calibration."""

    features: dict[str, Features]
    """The features of all photos of `split`, by network."""
    split: pd.DataFrame
    """The content of `paths.SPLIT`."""
    groups: pd.DataFrame
    """The content of `paths.GROUPS`."""
    leaks: pd.DataFrame
    """The content of `paths.LEAKS`."""
    catalog: pd.DataFrame
    """The content of `paths.CATALOG`."""


@dataclass(frozen=True)
class CalibrationResult:
    """The outputs of a calibration."""

    decision: Mapping[str, object]
    """The content of `paths.DECISION`."""
    validation: pd.DataFrame
    """The content of `paths.VALIDATION`."""
    curve: pd.DataFrame
    """The content of `paths.CURVE`."""
    scores: pd.DataFrame
    """The content of `paths.SCORES`."""
    params: Mapping[str, str | float]
    """Parameters to log, by name."""
    metrics: Mapping[str, float]
    """Metrics to log, by name."""
    summary: str
    """One line to print."""


def read(networks: Sequence[str]) -> Inputs:
    """Read the inputs for a calibration of `networks`.

    Raises:
        WhaleidError: a features file is damaged.
        InputProblems: photos of the split have no features.
    """
    split, groups, leaks, catalog = (
        files.read_csv(path) for path in (paths.SPLIT, paths.GROUPS, paths.LEAKS, paths.CATALOG)
    )
    loaded = features.load(dict(zip(networks, networks, strict=True)), split["Image"])
    return Inputs(loaded, split, groups, leaks, catalog)


def write(result: CalibrationResult, networks: Sequence[str], folder: Path, destination: Path) -> Record:
    """Write the calibration of `networks` to `folder`, and return its record.

    `folder` is temporary. The caller renames it to `destination`, and the record refers to the files there.
    """
    files.write_csv(result.validation, folder / paths.VALIDATION)
    files.write_csv(result.curve, folder / paths.CURVE)
    files.write_csv(result.scores, folder / paths.SCORES)
    files.write_json(result.decision, folder / paths.DECISION)
    return Record(
        params=result.params,
        metrics=result.metrics,
        artifacts=[destination / paths.CURVE, destination / paths.SCORES],
        inputs=[*map(paths.features, networks), paths.GROUPS, paths.LEAKS],
        outputs=[destination / paths.DECISION, destination / paths.VALIDATION],
        dataset=paths.SPLIT,
    )
