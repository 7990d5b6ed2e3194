"""Where a project lies and what lies in it: names of folders, owners, links, files of the system, terminals."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import repository
from helpers.project import ROOT, copy_repository, run

pytestmark = pytest.mark.slow
QUERIES = "data/sample/test"


@pytest.fixture
def project(reproduced: Path, tmp_path: Path) -> Path:
    """A repository where the pipeline has run, in a folder whose name no URL takes as it is."""
    (tmp_path / "a %20?#é b").mkdir()
    return copy_repository(reproduced, tmp_path / "a %20?#é b" / "whales")


def call(folder: Path, *command: str, **environment: str) -> tuple[int, str]:
    """Run a command in `folder`; return its exit code and all of its output."""
    known = repository.environment(folder.parent / "cache", **environment)
    ended = subprocess.run(
        command, cwd=folder, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return ended.returncode, ended.stdout


def test_a_folder_of_any_name(project: Path) -> None:
    run(project, "dvc", "repro", "--force", "--single-item", "split", XDG_CACHE_HOME=str(project.parent / "cache"))
    photo = sorted((project / QUERIES).iterdir())[0]
    shutil.copy(photo, project / "ñ ?.jpg")
    code, output = call(project, "python", "-m", "whaleid", "identify", "ñ ?.jpg", "--html", "who.html")
    assert (code, output.count("%  ")) == (0, 4), output
    assert call(project, "python", "-m", "whaleid", "register")[0] == 0
    code, output = call(
        project, "python", "-m", "whaleid", "identify", "ñ ?.jpg", "--model", "models:/whaleid@champion"
    )
    assert code == 0, output


def test_a_terminal_of_ascii_only(project: Path) -> None:
    shutil.copy(sorted((project / QUERIES).iterdir())[0], project / "ñ.jpg")
    for command in (["identify", "ñ.jpg"], ["compare"], ["check"], ["--help"]):
        code, output = call(project, "python", "-m", "whaleid", *command, PYTHONIOENCODING="ascii")
        assert code == 0, output


def test_files_that_systems_leave_behind_change_nothing(project: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._photo.jpg"):
        for folder in (QUERIES, "data/sample/train", "data/sample", "data/pack"):
            (project / folder / name).write_bytes(b"\0")
    assert "up to date" in run(project, "dvc", "status")


def test_a_cache_of_links(project: Path) -> None:
    cache = str(project.parent / "cache")
    run(project, "dvc", "config", "cache.type", "symlink")
    run(project, "dvc", "checkout", "--relink", XDG_CACHE_HOME=cache)
    assert sorted((project / QUERIES).iterdir())[0].is_symlink()
    before = repository.digests(project)
    run(project, "dvc", "repro", "--force", "--single-item", "catalog", XDG_CACHE_HOME=cache)
    assert call(project, "python", "-m", "whaleid", "import", "data/sample", "--to", "data/own")[0] == 0
    assert repository.differing_files(before, repository.digests(project)) == sorted(
        path.relative_to(project).as_posix() for path in (project / "data/own").rglob("*") if path.is_file()
    )
    assert not any(path.is_symlink() for path in (project / "data/own").rglob("*"))


def test_a_project_within_another_repository(project: Path) -> None:
    run(project.parent, "git", "init", "--quiet")
    shutil.rmtree(project / ".git")
    output = run(
        project, "dvc", "repro", "--force", "--single-item", "split", XDG_CACHE_HOME=str(project.parent / "cache")
    )
    assert "Running stage 'split'" in output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_another_user(project: Path) -> None:
    shutil.copy(ROOT / "Makefile", project)
    for path in (project, *project.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    code, output = call(project, "make", "repository", HOME=str(project.parent), GIT_CONFIG_NOSYSTEM="1")
    assert code == 2
    assert "git config --global --add safe.directory" in output
    assert "DVC needs a git repository that git can open" in output
    code, output = call(project, "python", "-m", "whaleid", "split", HOME=str(project.parent))
    assert code == 0, output


def test_a_tilde_after_an_option_is_the_home_folder(project: Path, tmp_path: Path) -> None:
    code, output = call(
        project, "python", "-m", "whaleid", "duplicates", QUERIES, "--out=~/copies", HOME=str(tmp_path / "home")
    )
    assert code == 0, output
    assert (tmp_path / "home/copies/report.html").is_file()
    assert not (project / "~").exists()
