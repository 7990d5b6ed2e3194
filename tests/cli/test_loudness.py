"""`--quiet` and `--verbose`: what is printed, and where."""

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers.closure import ROOT
from helpers.pictures import picture
from helpers.terminal import on_terminal, whaleid

from whaleid.cli.app import ENVIRONMENT
from whaleid.config import Params
from whaleid.core import log

SLIVER = {"frequent": 2, "occasional": 1, "single": 2, "new_whale": 2, "queries": 4}


@pytest.fixture
def small(project: Callable[..., Params]) -> None:
    project(sample=SLIVER)


def test_a_stage_says_what_it_did_unless_it_is_to_be_quiet(small: None) -> None:
    assert re.fullmatch(r"drew \d+ labelled photos and \d+ queries into data/sample\n", whaleid("sample").stdout)
    for done in (whaleid("--quiet", "sample"), whaleid("-q", "sample")):
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Path("data/sample/train.csv").is_file()


def test_a_terminal_shows_a_bar_unless_it_is_to_be_quiet(small: None) -> None:
    assert "whales drawn" in on_terminal("sample")
    assert on_terminal("--quiet", "sample") == ""


def test_errors_are_said_whatever_is_asked_for(small: None) -> None:
    said = "error: data/catalog.csv does not exist: `dvc repro` makes it, and everything that it needs.\n"
    done = whaleid("--quiet", "dedup")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    done = whaleid("--verbose", "dedup")
    assert done.stderr.endswith(said)
    assert "Traceback (most recent call last)" in done.stderr
    assert "stages/dedup.py" in done.stderr


def test_answers_are_said_even_so(small: None, tmp_path: Path) -> None:
    assert whaleid("-q", "check").stdout.startswith("params.yaml is valid")
    Path("truth.csv").write_text("Image,Id\na.jpg,w_1\n")
    assert whaleid("-q", "score", "truth.csv", "truth.csv").stdout == "1.00000\n"
    Path("photos").mkdir()
    picture(1).save("photos/a.png")
    assert "1 images, 0 copies" in whaleid("-q", "duplicates", "photos").stdout
    Path("reports/figures").mkdir(parents=True)
    Path("reports/figures/full.json").write_text('{"map5": 0.7}')
    assert "full" in whaleid("-q", "compare").stdout
    assert whaleid("-q", "preset", "sample").stdout == ""


def test_details_go_to_standard_error(small: None) -> None:
    done = whaleid("--verbose", "sample")
    assert done.stdout == whaleid("sample").stdout
    versions, *parts = done.stderr.splitlines()
    assert versions.startswith(f"whaleid 0.1.0 ({ROOT / 'whaleid'}), Python {sys.version.split()[0]}, ")
    assert f"numpy {version('numpy')}" in versions
    assert [re.sub(r"\d+\.\d\d s", "S", re.sub(r": \d+:", ": N:", part)) for part in parts] == [
        "code of sample loaded: S",
        "whales drawn: N: S",
        "sample done: S",
        "S in all",
    ]


def test_processes_that_a_command_starts_get_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for level, options in [("WARNING", ["--quiet"]), ("DEBUG", ["--verbose"]), ("INFO", [])]:
        monkeypatch.setattr(log.logger, "level", getattr(logging, level))
        assert log.options() == options


def test_the_help_tells_of_each_name_that_is_read() -> None:
    read = set()
    for file in (ROOT / "whaleid").rglob("*.py"):
        read |= set(re.findall(r'"(WHALEID_[A-Z_]+)"', file.read_text(encoding="utf-8")))
    assert {name for name in ENVIRONMENT if name.startswith("WHALEID_")} == read
    told = whaleid("--help", COLUMNS="80").stdout
    documents = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    for name, asks in ENVIRONMENT.items():
        assert f"  {name:20}{asks} " in told
        assert f"| `{name}` |" in documents


def test_the_version_has_one_place() -> None:
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert whaleid("--version").stdout == f"whaleid {declared}\n"
    listed = subprocess.run(
        ["git", "grep", "-lF", f'"{declared}"', "--", "whaleid/*.py", "*.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert listed == ["pyproject.toml"]
