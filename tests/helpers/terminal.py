"""The command line in this process, in a process of its own, and on a terminal."""

import os
import pty
import signal
import subprocess
import sys
import termios
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from helpers.project import ROOT

from whaleid.cli import main
from whaleid.core.log import logger

WHALEID = [sys.executable, "-m", "whaleid"]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a command that tracks nothing, with `more`; colours are as if unset."""
    unset = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")
    known = {name: value for name, value in os.environ.items() if name not in unset}
    return known | {"PYTHONPATH": str(ROOT), "WHALEID_TRACKING": "off", "COLUMNS": "100"} | more


def here(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process."""
    out, err = StringIO(), StringIO()
    level, handler = logger.level, signal.getsignal(signal.SIGTERM)
    code: object = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        known = environment(**more)
        for name in [*os.environ]:
            if name not in known:
                patch.delenv(name)
        for name, value in known.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["whaleid", *arguments])
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            logger.setLevel(level)
            signal.signal(signal.SIGTERM, handler)
    if isinstance(code, str):  # as Python prints it when it ends
        err.write(f"{code}\n")
        code = 1
    assert code is None or isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code or 0, out.getvalue(), err.getvalue())


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
