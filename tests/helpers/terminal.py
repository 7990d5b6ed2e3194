"""The command line in a process of its own: as people type it, and on a terminal."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

from helpers.project import ROOT

WHALEID = [sys.executable, "-m", "whaleid"]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a command that tracks nothing, with `more`; colours are as if unset."""
    unset = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")
    known = {name: value for name, value in os.environ.items() if name not in unset}
    return known | {"PYTHONPATH": str(ROOT), "WHALEID_TRACKING": "off", "COLUMNS": "100"} | more


def whaleid(*arguments: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command, with its output in pipes."""
    return subprocess.run(
        [*WHALEID, *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=environment(**more)
    )


def on_terminal(*arguments: str, **more: str) -> str:
    """Run a command on a pseudo-terminal, and return all that it said there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, 100))
    with subprocess.Popen(
        [*WHALEID, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm-256color", **more),
    ):
        os.close(theirs)
        said = b""
        while True:
            try:
                read = os.read(ours, 65536)
            except OSError:  # nobody has the other end any more
                break
            if not read:
                break
            said += read
    os.close(ours)
    return said.decode()
