"""Stages leave the same bytes in another folder, process, locale and order of files.

The long version, of every stage and by DVC, is tests/faults/same.py, which also tells what depends on threads.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from faults import same
from helpers import repository
from helpers.project import ROOT, keep_predictions

pytestmark = pytest.mark.long


def test_what_should_not_matter_does_not(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / same.OTHER_NAME
    shutil.copytree(trained, folder)
    keep_predictions(folder, "ensemble", "final")
    shutil.copytree(ROOT / "whaleid", folder / "whaleid", ignore=shutil.ignore_patterns("__pycache__"))
    expected = repository.digests(folder)
    for made in (folder / "data").iterdir():
        if made.is_dir():
            shutil.rmtree(made)
        elif made.name != "flukes.csv":  # of the stage boxes, which is left out here
            made.unlink()
    for name in (
        "checkpoints/margin.safetensors",
        "features/margin.npz",
        "calibrations/margin",
        "rankings",
        "submissions",
    ):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    environment = same.other(tmp_path) | {"WHALEID_TRACKING": "off"}
    for stage in (
        *("sample", "catalog", "dedup", "split", "pack", "train margin", "embed margin"),
        *("calibrate margin", "rank", "predict"),
    ):
        command = ["python", "-m", "whaleid", *stage.split()]
        subprocess.run(command, cwd=folder, env=environment, umask=same.OTHER_UMASK, check=True)
        if stage == "sample":
            same.rearrange(folder / "data/sample")
    assert repository.differing_files(expected, repository.digests(folder)) == []
