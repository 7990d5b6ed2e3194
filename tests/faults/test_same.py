"""Stages write the same bytes in another folder, process, locale and order of files.

The long version, for every stage and with DVC, is tests/faults/same.py. It also shows which stages depend on threads.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from faults import same
from helpers import repository
from helpers.project import ROOT, keep_predictions

pytestmark = pytest.mark.long


def test_the_environment_does_not_change_results(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / same.OTHER_NAME
    shutil.copytree(trained, folder)
    keep_predictions(folder, "ensemble", "final")
    shutil.copytree(ROOT / "whaleid", folder / "whaleid", ignore=shutil.ignore_patterns("__pycache__"))
    expected = repository.digests(folder)
    for output in (folder / "data").iterdir():
        if output.is_dir():
            shutil.rmtree(output)
        elif output.name != "flukes.csv":  # written by the stage boxes, which is skipped here
            output.unlink()
    for output_name in (
        "checkpoints/margin.safetensors",
        "features/margin.npz",
        "calibrations/margin",
        "rankings",
        "submissions",
    ):
        path = folder / output_name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    environment = same.other_environment(tmp_path) | {"WHALEID_TRACKING": "off"}
    for stage in (
        *("sample", "catalog", "dedup", "split", "pack", "train margin", "embed margin"),
        *("calibrate margin", "rank", "predict"),
    ):
        command = ["python", "-m", "whaleid", *stage.split()]
        subprocess.run(command, cwd=folder, env=environment, umask=same.OTHER_UMASK, check=True)
        if stage == "sample":
            same.recreate_in_other_order(folder / "data/sample")
    assert repository.differing_files(expected, repository.digests(folder)) == []
