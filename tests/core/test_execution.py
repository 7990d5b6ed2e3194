"""The key, the tags and the name of a pipeline execution."""

import os
import subprocess
from pathlib import Path

import pytest

from whaleid.core import execution


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder without git and DVC, as a user named ada."""
    for name in [name for name in os.environ if name.startswith("DVC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("threshold: 0.2\n")


def git(*command: str) -> str:
    command_line = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run([*command_line, *command], check=True, capture_output=True, text=True).stdout.strip()


def commit(params: str) -> str:
    """Commit `params` as params.yaml, and return the hash of the commit."""
    Path("params.yaml").write_text(params)
    git("init", "-q")
    git("add", "params.yaml")
    git("commit", "-q", "-m", "parameters")
    return git("rev-parse", "HEAD")


def test_a_project_without_git_or_without_a_commit() -> None:
    tags = execution.tags()
    assert (tags["mlflow.user"], tags["mlflow.source.git.commit"]) == ("ada", "")
    git("init", "-q")
    assert execution.tags() == tags
    assert execution.name(tags) == "whaleid"


def test_the_key_changes_with_the_commit_and_the_parameters() -> None:
    head = commit("threshold: auto\n")
    first = execution.tags()
    assert first["mlflow.source.git.commit"] == head
    Path("params.yaml").write_text("threshold: 0.3\n")
    second = execution.tags()
    commit("threshold: 0.3\n")
    assert len({tags["whaleid.key"] for tags in (first, second, execution.tags())}) == 3


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ("threshold: auto\npack: {width: 96, grey: true}\n", "HEAD"),
        ("threshold: 0.2\npack: {width: 96, grey: true}\n", "HEAD threshold=0.2"),
        ("threshold: 0.2\npack: {width: 48, grey: true}\n", "HEAD threshold=0.2 pack.width=48"),
        ("threshold: 0.2\npack: {width: 48, grey: false}\n", "HEAD 3 parameters"),
        ("threshold: auto\npack: {width: 96}\nseed: 7\n", "HEAD pack.grey=None seed=7"),
    ],
)
def test_the_name_lists_parameters_that_differ_from_the_commit(
    params: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = commit("threshold: auto\npack: {width: 96, grey: true}\n")
    Path("params.yaml").write_text(params)
    name = name.replace("HEAD", head[:7])
    assert execution.name(execution.tags()) == f"whaleid {name}"
    monkeypatch.setenv("DVC_STAGE", "split")
    assert execution.name(execution.tags()) == f"dvc repro {name}"


def test_the_name_lists_no_parameters_if_the_committed_file_is_damaged() -> None:
    head = commit("threshold: [\n")
    Path("params.yaml").write_text("threshold: 0.2\n")
    assert execution.name(execution.tags()) == f"whaleid {head[:7]}"


def test_a_dvc_experiment_is_one_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    head = commit("threshold: auto\n")
    monkeypatch.setenv("DVC_EXP_NAME", "stiff-o'hare")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", head)
    first = execution.tags()
    assert (first["dvc.experiment"], first["dvc.baseline"]) == ("stiff-o'hare", head)
    assert execution.name(first) == "as committed (stiff-o'hare)"
    Path("params.yaml").write_text("threshold: 0.2\n")
    assert execution.tags() == first
    assert execution.name(first) == "threshold=0.2 (stiff-o'hare)"
    # DVC allows two experiments of the same name with different baselines
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", commit("threshold: 0.1\n"))
    assert execution.tags()["whaleid.key"] != first["whaleid.key"]
