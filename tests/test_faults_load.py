"""Large catalogues: what tests/faults/load.py does with 100,000 photos, with a thousand; and scores that lie in a file."""

import shutil
from pathlib import Path

import pytest

from whaleid import params, paths
from whaleid.stages import calibrate

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


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
    calibrate.run(params.load(paths.PARAMS), paths.ENSEMBLE)
    assert [path.read_bytes() for path in written] == before
    assert sorted(paths.calibration(paths.ENSEMBLE).parent.iterdir()) == there  # the file has no name


def test_all_stages_on_many_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests/faults")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import load

    load.make(tmp_path / "photos", 400)
    assert len(list((tmp_path / "photos/train").iterdir())) == 320 + 3
    assert len(list((tmp_path / "photos/test").iterdir())) == 80 + 3
    assert (tmp_path / "photos/train.csv").read_text().count("\n") == 1 + 320 + 3
