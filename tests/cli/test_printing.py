"""`--quiet`, `--verbose`, bars and colours: what is printed, and where."""

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

SLIVER = {"frequent": 2, "occasional": 1, "single": 2, "new_whale": 2, "queries": 4}
ESCAPE = "\x1b"


@pytest.fixture
def small(project: Callable[..., Params]) -> None:
    project(sample=SLIVER)


def test_a_stage_prints_a_summary_and_details_if_wanted(small: None) -> None:
    plain = run_in_process("sample")
    assert re.fullmatch(r"drew \d+ labelled photos and \d+ queries into data/sample\n", plain.stdout)
    assert plain.stderr == ""
    quiet = run_in_process("-q", "sample")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    verbose = run_in_process("--verbose", "sample")
    assert verbose.stdout == plain.stdout
    versions, *parts = verbose.stderr.splitlines()
    assert versions.startswith(f"whaleid 0.1.0 ({ROOT / 'whaleid'}), Python {sys.version.split()[0]}, ")
    assert f"numpy {version('numpy')}" in versions
    assert [re.sub(r"\d+\.\d\d s", "S", re.sub(r": \d+:", ": N:", part)) for part in parts] == [
        "code of sample imported: S",
        "whales drawn: N: S",
        "sample done: S",
        "total: S",
    ]


def test_a_verbose_error_has_a_traceback_before_the_message(small: None) -> None:
    printed = run_in_process("--verbose", "dedup").stderr
    assert "Traceback (most recent call last)" in printed
    assert "stages/dedup.py" in printed
    assert printed.splitlines()[-1].startswith("error: data/catalog.csv does not exist. Run `dvc repro` to create it")


def test_results_are_printed_even_if_quiet(small: None) -> None:
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


def test_processes_that_a_command_starts_get_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for level, options in [(logging.WARNING, ["--quiet"]), (logging.DEBUG, ["--verbose"]), (logging.INFO, [])]:
        monkeypatch.setattr(log.logger, "level", level)
        assert log.options() == options


def test_of_several_processes_the_first_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        log.logger.info("summary")
        log.logger.warning("warning")
    assert capsys.readouterr() == ("summary\n", "warning\nwarning\n")


def test_a_terminal_shows_a_bar_unless_it_is_to_be_quiet(small: None) -> None:
    assert "whales drawn" in run_on_terminal("sample")
    assert run_on_terminal("--quiet", "sample") == ""


WORDS = [["--help"], pytest.param(["train", "--help"], marks=pytest.mark.long), ["traim"]]
"""Help, and a wrong command line."""


@pytest.mark.parametrize("words", WORDS)
def test_a_terminal_has_colours_unless_they_are_unwanted(words: list[str]) -> None:
    assert ESCAPE in run_on_terminal(*words)
    plain = run_on_terminal(*words, NO_COLOR="1")
    assert ESCAPE not in plain
    assert "Usage: whaleid" in plain
    assert ESCAPE in run_on_terminal(*words, NO_COLOR="")  # https://no-color.org: unless it is empty


@pytest.mark.parametrize("words", WORDS)
def test_a_pipe_has_none_unless_they_are_forced(words: list[str]) -> None:
    def printed(**more: str) -> str:
        ended = run_in_subprocess(*words, **more)
        return ended.stdout + ended.stderr

    assert ESCAPE not in printed()
    assert ESCAPE in printed(FORCE_COLOR="1")
    assert ESCAPE not in printed(FORCE_COLOR="1", NO_COLOR="1")
