"""The files of a calibration: what it is fitted on and what is written of it, for a variant alone or an ensemble."""

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
    """What networks are calibrated on."""

    features: dict[str, Features]
    """By network, of all photos of `split`."""
    split: pd.DataFrame
    groups: pd.DataFrame
    leaks: pd.DataFrame
    catalog: pd.DataFrame


@dataclass(frozen=True)
class CalibrationResult:
    """What is kept of a calibration."""

    decision: Mapping[str, object]
    """The content of `paths.DECISION`."""
    validation: pd.DataFrame
    curve: pd.DataFrame
    scores: pd.DataFrame
    params: Mapping[str, str | float]
    metrics: Mapping[str, float]
    summary: str
    """A line to print."""


def read(networks: Sequence[str]) -> Inputs:
    """Read what `networks` are calibrated on.

    Raises:
        WhaleidError: a file of features is damaged.
        InputProblems: photos have no features.
    """
    split, groups, leaks, catalog = (
        files.read_csv(path) for path in (paths.SPLIT, paths.GROUPS, paths.LEAKS, paths.CATALOG)
    )
    loaded = features.load(dict(zip(networks, networks, strict=True)), split["Image"])
    return Inputs(loaded, split, groups, leaks, catalog)


def write(calibrated: CalibrationResult, networks: Sequence[str], folder: Path, place: Path) -> Record:
    """Write the calibration of `networks` to `folder`, which is renamed to `place` later; return what to log."""
    files.write_csv(calibrated.validation, folder / paths.VALIDATION)
    files.write_csv(calibrated.curve, folder / paths.CURVE)
    files.write_csv(calibrated.scores, folder / paths.SCORES)
    files.write_json(calibrated.decision, folder / paths.DECISION)
    return Record(
        params=calibrated.params,
        metrics=calibrated.metrics,
        artifacts=[place / paths.CURVE, place / paths.SCORES],
        inputs=[*map(paths.features, networks), paths.GROUPS, paths.LEAKS],
        outputs=[place / paths.DECISION, place / paths.VALIDATION],
        dataset=paths.SPLIT,
    )
