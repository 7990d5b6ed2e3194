"""Nothing asks the network for anything: where every attempt is written down and refused, there is none."""

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
        if not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1"):  # a name is that of a file
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
"""Runs first in each Python process, also in those that are started by others; its hook cannot be taken away."""
ALL = """
import sys
from whaleid.cli.app import app
for command in sys.argv[1:]:
    print("$", command, file=sys.stderr, flush=True)
    app(command.split(), standalone_mode=False)
"""
"""Runs commands in one process: it takes seconds to load what they need."""
COMMANDS = [
    *("sample", "catalog", "dedup", "split", "explore", "boxes", "pack", "backbone"),
    *("train toy", "embed toy", "calibrate toy", "rank", "predict", "report", "compare", "check"),
    *("submit submissions/toy.csv", "score submissions/toy.csv data/sample/solution.csv"),
    *("bundle toy", "register toy", "import data/sample --to whales", "duplicates seen --out copies"),
    "identify seen --model models/toy.bundle --catalogue whales --csv a.csv --json a.json --html a.html",
    "add reviewed.csv --by someone --model models/toy.bundle --catalogue whales",
    "identify seen --model models:/whaleid@champion --catalogue whales",
]


@pytest.fixture
def isolated(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """Return the environment of processes without a network, and where they write what they tried."""
    folder = tmp_path_factory.mktemp("guard")
    (folder / "sitecustomize.py").write_text(GUARD)
    attempts = folder / "attempts.txt"
    attempts.touch()
    ours = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "ATTEMPTS": str(attempts)}
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "WHALEID_"))}
    return known | ours, attempts


@pytest.mark.parametrize(
    ("code", "tried"),
    [
        ("import urllib.request as r; r.urlopen('http://example.org/', timeout=5)", "socket.getaddrinfo example.org"),
        ("import socket; socket.socket().connect(('192.0.2.1', 80))", "socket.connect ('192.0.2.1', 80)"),
        ("import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 80))", "socket.sendto"),
    ],
)
def test_an_attempt_would_be_seen(isolated: tuple[dict[str, str], Path], code: str, tried: str) -> None:
    environment, attempts = isolated
    environment = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    # also from a process that another one starts
    inner = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {code!r}]).returncode)"
    done = subprocess.run([sys.executable, "-c", inner], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no network" in done.stderr
    assert tried in attempts.read_text()


@pytest.mark.slow
def test_no_command_tries_to_reach_anything(
    project: Callable[..., Params], isolated: tuple[dict[str, str], Path]
) -> None:
    copy_project(Path())
    project(backbone={"name": "squeezenet1_1", "weights": "none", "embedding": 16})
    yaml = YAML()
    document = yaml.load(Path("params.yaml").read_text(encoding="utf-8"))
    document["variants"] = {"toy": document["variants"]["toy"]}
    networks = {"phash": [], "toy": ["toy"], "final": ["toy"]}
    document["predictions"] = {name: {"networks": each} for name, each in networks.items()}
    yaml.dump(document, Path("params.yaml"))
    environment, attempts = isolated
    Path("seen").mkdir()
    picture(7, (192, 96)).save("seen/one.png")
    Path("reviewed.csv").write_text("photo,whale\nseen/one.png,new\n")
    for program in (["-c", ALL, *COMMANDS], ["-m", "whaleid", "predict"]):
        command = [sys.executable, *program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert attempts.read_text() == "", done.stderr
    # and all of it was tracked: MLflow was there, with its telemetry
    assert {run.info.run_name for run in runs(Path())} >= {
        *("explore", "dedup", "split", "boxes", "train toy", "embed toy", "calibrate toy"),
        *("predict phash", "predict toy", "register toy"),
    }
