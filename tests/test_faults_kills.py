"""A stage that is killed outright: run again, it leaves the same bytes, and MLflow tells what happened.

The long version, by DVC and of every stage, is tests/faults/kills.py.
"""

import shutil
from pathlib import Path

import pytest
import repository
from conftest import ROOT
from faults.kills import Command

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.mark.parametrize(
    ("stage", "variant", "moment", "output"),
    [
        ("train", "margin", "epoch 2 of 3", "models/margin.pt"),
        ("predict", "ensemble", "predict ensemble", "submissions/ensemble.csv"),
    ],
)
def test_a_killed_stage_runs_again_to_the_same_bytes(
    trained: Path, tmp_path: Path, stage: str, variant: str, moment: str, output: str
) -> None:
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    expected = repository.digests(folder)
    (folder / output).unlink()
    (folder / "reports/.gone.999999999.partial").mkdir()
    environment = repository.environment(tmp_path / "cache", PYTHONPATH=str(ROOT))
    command = ("python", "-m", "whaleid", stage, variant)
    killed = Command(folder, environment, *command)
    while (line := killed.line(timeout=120)) is not None and not line.startswith(moment):
        pass
    assert line is not None, killed.said
    killed.kill()
    assert repository.statuses(folder).count("RUNNING") == 1

    again = Command(folder, environment, *command)
    assert again.code() == 0, again.said
    if stage == "train":
        assert "training goes on after epoch 1" in again.said or "training goes on after epoch 2" in again.said
    # the parent, the killed run and the new one
    assert sorted(repository.statuses(folder)) == ["FINISHED", "FINISHED", "KILLED"]
    assert repository.strays(folder) == []
    assert repository.different(expected, repository.digests(folder)) == []
