"""No command accesses the network: all attempts are recorded and refused, and the record stays empty."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.pictures import picture
from helpers.project import ROOT, copy_project, runs
from ruamel.yaml import YAML

from whaleid.config import Params

GUARD = """
import os, sys

def refuse(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        if not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1"):  # a string is a Unix socket's path
            return
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        address = arguments[-1] if event == "socket.sendto" else arguments[0]
        if address in ("localhost", "127.0.0.1", "::1", None):
            return
    else:
        return
    with open(os.environ["ATTEMPTS"], "a") as file:
        print(sys.orig_argv[1:], event, address, file=file)
    raise OSError(f"there is no network: {event} {address}")

sys.addaudithook(refuse)
"""
"""The `sitecustomize` module: it runs first in every Python process, child processes included, and audit hooks cannot
be removed."""
RUN_COMMANDS = """
import sys
from whaleid.cli.app import app
for command in sys.argv[1:]:
    print("$", command, file=sys.stderr, flush=True)
    app(command.split(), standalone_mode=False)
"""
"""Run several commands in one process, because imports take seconds."""
COMMANDS = [
    *("sample", "catalog", "dedup", "split", "explore", "boxes", "pack", "backbone"),
    *("train toy", "embed toy", "calibrate toy", "rank", "predict", "report", "compare", "check"),
    *("submit submissions/toy.csv", "score submissions/toy.csv data/sample/solution.csv"),
    *("bundle toy", "register toy", "import data/sample --to whales", "duplicates photos --out copies"),
    "identify photos --model models/toy.bundle --catalogue whales --csv a.csv --json a.json --html a.html",
    "add reviewed.csv --by someone --model models/toy.bundle --catalogue whales",
    "identify photos --model models:/whaleid@champion --catalogue whales",
]


@pytest.fixture
def offline(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """The environment of a process without network access, and the file in which attempts are recorded."""
    folder = tmp_path_factory.mktemp("guard")
    (folder / "sitecustomize.py").write_text(GUARD)
    attempts = folder / "attempts.txt"
    attempts.touch()
    additions = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "ATTEMPTS": str(attempts)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "WHALEID_"))}
    return environment | additions, attempts


@pytest.mark.parametrize(
    ("code", "attempt"),
    [
        ("import urllib.request as r; r.urlopen('http://example.org/', timeout=5)", "socket.getaddrinfo example.org"),
        ("import socket; socket.socket().connect(('192.0.2.1', 80))", "socket.connect ('192.0.2.1', 80)"),
        ("import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 80))", "socket.sendto"),
    ],
)
def test_attempts_are_recorded(offline: tuple[dict[str, str], Path], code: str, attempt: str) -> None:
    environment, attempts = offline
    environment = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    # from a child process
    outer_code = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {code!r}]).returncode)"
    process = subprocess.run(
        [sys.executable, "-c", outer_code], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert "there is no network" in process.stderr
    assert attempt in attempts.read_text()


@pytest.mark.slow
def test_no_command_accesses_the_network(project: Callable[..., Params], offline: tuple[dict[str, str], Path]) -> None:
    copy_project(Path())
    project(backbone={"name": "squeezenet1_1", "weights": "none", "embedding": 16})
    yaml = YAML()
    document = yaml.load(Path("params.yaml").read_text(encoding="utf-8"))
    document["variants"] = {"toy": document["variants"]["toy"]}
    networks = {"phash": [], "toy": ["toy"], "final": ["toy"]}
    document["predictions"] = {name: {"networks": members} for name, members in networks.items()}
    yaml.dump(document, Path("params.yaml"))
    environment, attempts = offline
    Path("photos").mkdir()
    picture(7, (192, 96)).save("photos/one.png")
    Path("reviewed.csv").write_text("photo,whale\nphotos/one.png,new\n")
    for program in (["-c", RUN_COMMANDS, *COMMANDS], ["-m", "whaleid", "predict"]):
        command = [sys.executable, *program]
        process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        assert attempts.read_text() == "", process.stderr
    # tracking was on, so MLflow's telemetry was covered
    assert {run.info.run_name for run in runs(Path())} >= {
        *("explore", "dedup", "split", "boxes", "train toy", "embed toy", "calibrate toy"),
        *("predict phash", "predict toy", "register toy"),
    }
