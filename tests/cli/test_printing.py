"""`--quiet`, `--verbose`, progress bars and colours on standard output and standard error."""

import logging
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers.pictures import picture
from helpers.project import ROOT
from helpers.terminal import run_in_process, run_in_subprocess, run_on_terminal

from whaleid.config import Params
from whaleid.core import log

SMALL_SAMPLE = {"frequent": 2, "occasional": 1, "single": 2, "new_whale": 2, "queries": 4}
ESCAPE = "\x1b"


@pytest.fixture
def small_project(project: Callable[..., Params]) -> None:
    project(sample=SMALL_SAMPLE)


def test_a_stage_prints_a_summary_and_with_verbose_details(small_project: None) -> None:
    plain = run_in_process("sample")
    assert re.fullmatch(r"data/sample: \d+ labelled photos and \d+ queries created\n", plain.stdout)
    assert plain.stderr == ""
    quiet = run_in_process("-q", "sample")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    verbose = run_in_process("--verbose", "sample")
    assert verbose.stdout == plain.stdout
    versions, *timings = verbose.stderr.splitlines()
    assert versions.startswith(f"whaleid 0.1.0 ({ROOT / 'whaleid'}), Python {sys.version.split()[0]}, ")
    assert f"numpy {version('numpy')}" in versions
    assert [re.sub(r"\d+\.\d\d s", "S", re.sub(r": \d+:", ": N:", line)) for line in timings] == [
        "code of sample imported: S",
        "whales drawn: N: S",
        "sample done: S",
        "total: S",
    ]


def test_a_verbose_error_prints_a_traceback_before_the_message(small_project: None) -> None:
    output = run_in_process("--verbose", "dedup").stderr
    assert "Traceback (most recent call last)" in output
    assert "stages/dedup.py" in output
    assert output.splitlines()[-1].startswith("error: data/catalog.csv does not exist. If the pipeline creates it")


def test_quiet_commands_print_results(small_project: None) -> None:
    assert run_in_process("-q", "check").stdout.startswith("params.yaml is valid")
    Path("truth.csv").write_text("Image,Id\na.jpg,w_1\n")
    assert run_in_process("-q", "score", "truth.csv", "truth.csv").stdout == "1.00000\n"
    Path("photos").mkdir()
    picture(1).save("photos/a.png")
    assert "1 images, 0 copies" in run_in_process("-q", "duplicates", "photos").stdout
    Path("reports/figures").mkdir(parents=True)
    Path("reports/figures/full.json").write_text('{"map5": 0.7}')
    assert "full" in run_in_process("-q", "compare").stdout
    assert run_in_process("-q", "preset", "sample").stdout == ""


def test_launched_processes_get_the_same_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for level, options in [(logging.WARNING, ["--quiet"]), (logging.DEBUG, ["--verbose"]), (logging.INFO, [])]:
        monkeypatch.setattr(log.logger, "level", level)
        assert log.options() == options


def test_only_the_main_process_prints_summaries(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        log.logger.info("summary")
        log.logger.warning("warning")
    assert capsys.readouterr() == ("summary\n", "warning\nwarning\n")


def test_a_terminal_shows_a_progress_bar_unless_quiet(small_project: None) -> None:
    assert "whales drawn" in run_on_terminal("sample")
    assert run_on_terminal("--quiet", "sample") == ""


ARGUMENTS = [["--help"], pytest.param(["train", "--help"], marks=pytest.mark.long), ["traim"]]
"""Command lines that print help, and an invalid one."""


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_terminal_gets_colours_unless_no_color_is_set(arguments: list[str]) -> None:
    assert ESCAPE in run_on_terminal(*arguments)
    plain = run_on_terminal(*arguments, NO_COLOR="1")
    assert ESCAPE not in plain
    assert "Usage: whaleid" in plain
    assert ESCAPE in run_on_terminal(*arguments, NO_COLOR="")  # https://no-color.org: an empty value has no effect


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_pipe_gets_no_colours_unless_force_color_is_set(arguments: list[str]) -> None:
    def output(**variables: str) -> str:
        result = run_in_subprocess(*arguments, **variables)
        return result.stdout + result.stderr

    assert ESCAPE not in output()
    assert ESCAPE in output(FORCE_COLOR="1")
    assert ESCAPE not in output(FORCE_COLOR="1", NO_COLOR="1")
