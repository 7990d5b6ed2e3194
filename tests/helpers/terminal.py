"""Run the command line in this process, in a subprocess, or on a terminal."""

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


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a command without tracking, plus `variables`; colour settings are removed."""
    unset = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    return inherited | {"PYTHONPATH": str(ROOT), "WHALEID_TRACKING": "off", "COLUMNS": "100"} | variables


def run_in_process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process."""
    out, err = StringIO(), StringIO()
    level, handler = logger.level, signal.getsignal(signal.SIGTERM)
    code: object = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        wanted = environment(**variables)
        for name in [*os.environ]:
            if name not in wanted:
                patch.delenv(name)
        for name, value in wanted.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["whaleid", *arguments])
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            logger.setLevel(level)
            signal.signal(signal.SIGTERM, handler)
    if isinstance(code, str):  # Python prints such a code to stderr and exits with 1
        err.write(f"{code}\n")
        code = 1
    assert code is None or isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code or 0, out.getvalue(), err.getvalue())


def run_in_subprocess(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a subprocess that captures its output."""
    return subprocess.run(
        [*WHALEID, *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=environment(**variables)
    )


def run_on_terminal(*arguments: str, **variables: str) -> str:
    """Run a command on a pseudo-terminal, and return its output."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (25, 100))
    with subprocess.Popen(
        [*WHALEID, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment(TERM="xterm-256color", **variables),
    ):
        os.close(terminal)
        output = b""
        while True:
            try:
                chunk = os.read(controller, 65536)
            except OSError:  # the command has closed the terminal
                break
            if not chunk:
                break
            output += chunk
    os.close(controller)
    return output.decode()
