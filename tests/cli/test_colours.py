"""Colours: on a terminal alone, and never where NO_COLOR says so."""

import pytest
from helpers.terminal import on_terminal, whaleid

ESCAPE = "\x1b"
WORDS = [["--help"], ["train", "--help"], ["traim"], ["train"]]
"""Help, and wrong command lines."""


@pytest.mark.parametrize("words", WORDS)
def test_a_terminal_has_colours_unless_they_are_unwanted(words: list[str]) -> None:
    assert ESCAPE in on_terminal(*words)
    plain = on_terminal(*words, NO_COLOR="1")
    assert ESCAPE not in plain
    assert "Usage: whaleid" in plain
    assert ESCAPE in on_terminal(*words, NO_COLOR="")  # https://no-color.org: unless it is empty


@pytest.mark.parametrize("words", WORDS)
def test_a_pipe_has_none_unless_they_are_forced(words: list[str]) -> None:
    def said(**more: str) -> str:
        done = whaleid(*words, **more)
        return done.stdout + done.stderr

    assert ESCAPE not in said()
    assert ESCAPE in said(FORCE_COLOR="1")
    assert ESCAPE not in said(FORCE_COLOR="1", NO_COLOR="1")
