"""Concurrent commands: all succeed, and no result is lost.

The long version, with DVC's queue, two clones and MLflow's registry, is tests/faults/together.py.
"""

import shutil
from pathlib import Path

import pytest
from faults import together
from helpers import repository
from helpers.project import ROOT

pytestmark = pytest.mark.long
MODEL = "models/final.bundle"


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "project")
    return tmp_path / "project"


def test_photos_can_be_identified_during_training(folder: Path, tmp_path: Path) -> None:
    environment = repository.environment(tmp_path / "cache", PYTHONPATH=str(ROOT))
    assert together.identify(folder, tmp_path, environment, MODEL, processes=2)["identify_photos"] == 60


def test_two_reviewers_add_at_the_same_time(folder: Path, tmp_path: Path) -> None:
    environment = repository.environment(tmp_path / "cache", PYTHONPATH=str(ROOT))
    added = together.add(folder, tmp_path, environment, MODEL)["add_photos"]
    assert isinstance(added, int)
    assert added > 10
