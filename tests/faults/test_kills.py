"""A stage killed with SIGKILL: a second run writes the same bytes, and MLflow shows both runs.

The long version, for every stage and with DVC, is tests/faults/kills.py.
"""

import shutil
from pathlib import Path

import pytest
from faults.kills import Command
from helpers import repository
from helpers.project import ROOT, keep_predictions

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("command", "moment", "output", "runs"),
    [
        ("train margin", "epoch 2 of 3", "checkpoints/margin.safetensors", 1),
        ("predict", "predict ensemble", "submissions/ensemble.csv", 2),
    ],
)
def test_a_killed_stage_writes_the_same_bytes_when_run_again(
    trained: Path, tmp_path: Path, command: str, moment: str, output: str, runs: int
) -> None:
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    keep_predictions(folder, "ensemble", "final")
    expected = repository.digests(folder)
    (folder / output).unlink()
    environment = repository.environment(tmp_path / "cache", PYTHONPATH=str(ROOT))
    arguments = ("python", "-m", "whaleid", *command.split())
    killed = Command(folder, environment, *arguments)
    while (line := killed.line(timeout=120)) is not None and not line.startswith(moment):
        pass
    assert line is not None, killed.output
    killed.kill()
    assert repository.statuses(folder).count("RUNNING") == runs  # one for each prediction

    again = Command(folder, environment, *arguments)
    assert again.code() == 0, again.output
    if command == "train margin":
        assert "training resumes after epoch" in again.output
    # the parent run, the killed runs and the new runs
    assert sorted(repository.statuses(folder)) == ["FINISHED"] * (1 + runs) + ["KILLED"] * runs
    assert repository.temporary_files(folder) == []
    assert repository.differing_files(expected, repository.digests(folder)) == []
