"""Functions shared by the benchmarks: clean clones, also for real photos, and time and memory of a command."""

import argparse
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from mlflow.entities import Run

ROOT = Path(__file__).parents[1]
SAMPLE_SECONDS = 1.0
"""Interval between two measurements of memory."""
GIB = 2**30


@dataclass(frozen=True)
class Cost:
    """Time and memory of a command."""

    seconds: float
    peak_gib: float  # peak sum of the resident memory of the process and its children; shared pages count for each
    own_gib: float  # the same without mapped files, which the system frees when memory is short


def limit_cores(count: int) -> None:
    """Limit this process and its children to `count` cores, if the system supports it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def clone(destination: Path) -> None:
    """Clone the committed state of this project, without caches and outputs."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(destination)], check=True)
    for key, value in (("user.name", "benchmark"), ("user.email", "benchmark@example.org")):
        subprocess.run(["git", "config", key, value], cwd=destination, check=True)


def photo_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments of `clone_for_photos`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a catalogue folder in Kaggle's layout")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--weights", default="DEFAULT", help="DEFAULT, none, or a state dict")
    parser.add_argument("--unknown-share", default="0.3", help="share of the queries that show an unknown whale")
    return parser


def clone_for_photos(destination: Path, arguments: argparse.Namespace) -> None:
    """Clone this project and apply the preset `real` with the arguments of `photo_parser`."""
    clone(destination)
    weights = str(Path(arguments.weights).resolve()) if Path(arguments.weights).is_file() else arguments.weights
    options = ["--root", str(arguments.folder.resolve()), "--backbone", arguments.backbone, "--weights", weights]
    options += ["--unknown-share", arguments.unknown_share]
    run(destination, "python", "-m", "whaleid", "preset", "real", *options)


def keep_only(params: Path, prediction: str) -> None:
    """Remove all predictions but one from `params.yaml`, and all variants that it does not need.

    `final`, which the pipeline requires, gets the same networks.
    """
    yaml = YAML()
    document = yaml.load(params.read_text(encoding="utf-8"))
    variants, predictions = document["variants"], document["predictions"]
    if prediction != "final":
        predictions["final"] = {"networks": [*predictions[prediction]["networks"]]}
    needed = [*predictions[prediction]["networks"]]
    for name in needed:  # grows during the loop
        if (start := variants[name]["init"]) not in ("backbone", *needed):
            needed.append(start)
    for section, kept in ((variants, needed), (predictions, [prediction, "final"])):
        for name in [*section]:
            if name not in kept:
                del section[name]
    with params.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def run(folder: Path, *command: str) -> Cost:
    """Run `command` in `folder` with the tools of this environment; return its cost.

    Its output goes to standard error.

    Raises:
        CalledProcessError: the command failed.
    """
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for variable in ("MLFLOW_TRACKING_URI", "WHALEID_TRACKING", "DVC_ROOT", "DVC_EXP_NAME"):
        environment.pop(variable, None)
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=sys.stderr)
    peak, ended = [0, 0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(psutil.Process(process.pid), peak, ended))
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - started
    ended.set()
    watcher.join()
    if code:
        raise subprocess.CalledProcessError(code, command)
    return Cost(seconds, peak[0] / GIB, peak[1] / GIB)


def runs(store: Path, filter_string: str = "") -> "list[Run]":
    """Return the runs in an MLflow store, an SQLite file, that match an MLflow filter."""
    # imported here, since most benchmarks do not need it
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{store}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, filter_string, max_results=1000))


def _watch(process: psutil.Process, peak: list[int], ended: threading.Event) -> None:
    while not ended.wait(SAMPLE_SECONDS):
        try:
            memory = [member.memory_info() for member in [process, *process.children(recursive=True)]]
        except psutil.NoSuchProcess:
            continue  # a process ended during the measurement
        peak[0] = max(peak[0], sum(info.rss for info in memory))
        # systems that do not report shared memory count all as own
        peak[1] = max(peak[1], sum(info.rss - getattr(info, "shared", 0) for info in memory))
