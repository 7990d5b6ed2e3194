"""Large catalogues: scores that lie in a file, and the photos that tests/faults/load.py makes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from whaleid import config
from whaleid.core import paths
from whaleid.stages import calibrate, catalog, dedup

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.faults]


def test_scores_in_a_file_change_no_byte(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(calibrate, "HELD", 0)
    written = [paths.calibration(paths.ENSEMBLE), paths.validation(paths.ENSEMBLE)]
    written += [paths.scores(paths.ENSEMBLE), paths.threshold_curve(paths.ENSEMBLE)]
    before = [path.read_bytes() for path in written]
    there = sorted(paths.calibration(paths.ENSEMBLE).parent.iterdir())
    for path in written:
        path.unlink()
    calibrate.run(config.load(paths.PARAMS), paths.ENSEMBLE)
    assert [path.read_bytes() for path in written] == before
    assert sorted(paths.calibration(paths.ENSEMBLE).parent.iterdir()) == there  # the file has no name


def test_its_copies_are_the_only_duplicates(
    project: Callable[..., config.Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests/faults")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import load

    load.make(Path("photos"), 400)
    settings = project(data={"root": "photos"})
    catalog.run(settings)
    figures = dedup.run(settings).metrics
    assert figures["photos"] == 400 + 6
    assert figures["duplicates"] == 6
    assert figures["leaks"] == 3
