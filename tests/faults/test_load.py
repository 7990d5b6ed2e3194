"""Large catalogues: score matrices in temporary files, and the catalogue that tests/faults/load.py makes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.project import keep_predictions

from whaleid import config
from whaleid.core import arrays, paths
from whaleid.stages import calibrate, catalog, dedup, rank

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.long


def test_scores_in_a_file_give_the_same_bytes(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    keep_predictions(Path(), "ensemble", "final")
    monkeypatch.setattr(arrays, "MAX_MEMORY", 0)
    folders = [paths.calibration("margin"), paths.RANKINGS]
    before = {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert {path.name for path in before if path.parent == paths.calibration("margin")} == {
        "decision.json",
        "validation.csv",
        "threshold.csv",
        "scores.csv",
    }
    for folder in folders:
        shutil.rmtree(folder)
    settings = config.load(paths.PARAMS)
    calibrate.run(settings, "margin")
    rank.run(settings)
    # the file with the scores is unlinked, so that it is not among these
    assert {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()} == before


def test_the_copies_are_the_only_duplicates(
    project: Callable[..., config.Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    from faults import load

    load.make_catalogue(Path("photos"), 400)
    settings = project(data={"root": "photos"})
    catalog.run(settings)
    figures = dedup.run(settings).metrics
    assert figures["photos"] == 400 + 6
    assert figures["duplicates"] == 6
    assert figures["leaks"] == 3
