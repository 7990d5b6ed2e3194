"""What the benchmarks share: a clean clone, also for real photos, and the time and memory of a command."""

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
SECONDS = 1.0
"""Between two looks at memory."""
GIB = 2**30


@dataclass(frozen=True)
class Cost:
    """What a command cost."""

    seconds: float
    peak_gib: float  # resident memory of it and its children together; pages that they share count for each
    own_gib: float  # the same without files that are mapped, of which the system lets go when memory is short


def limit_cores(count: int) -> None:
    """Keep this process and its children to `count` cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def clone(destination: Path) -> None:
    """Clone this project as committed: nothing of its caches and outputs comes along."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(destination)], check=True)
    for key, value in (("user.name", "benchmark"), ("user.email", "benchmark@example.org")):
        subprocess.run(["git", "config", key, value], cwd=destination, check=True)


def photo_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what `clone_for_photos` needs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a catalogue folder in Kaggle's layout")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--weights", default="DEFAULT", help="DEFAULT, none, or a state dict")
    parser.add_argument("--unknown-share", default="0.3", help="of the queries, how many are of no known whale")
    return parser


def clone_for_photos(destination: Path, arguments: argparse.Namespace) -> None:
    """Clone this project and set it to the photos that `photo_parser` was given, by the preset `real`."""
    clone(destination)
    weights = str(Path(arguments.weights).resolve()) if Path(arguments.weights).is_file() else arguments.weights
    options = ["--root", str(arguments.folder.resolve()), "--backbone", arguments.backbone, "--weights", weights]
    options += ["--unknown-share", arguments.unknown_share]
    run(destination, "python", "-m", "whaleid", "preset", "real", *options)


def keep_only(params: Path, prediction: str) -> None:
    """Leave in `params.yaml` one prediction, and of the variants those that its networks are or start from.

    Its networks are those of `final` as well, without which there is no pipeline.
    """
    yaml = YAML()
    document = yaml.load(params.read_text(encoding="utf-8"))
    variants, predictions = document["variants"], document["predictions"]
    if prediction != "final":
        predictions["final"] = {"networks": [*predictions[prediction]["networks"]]}
    needed = [*predictions[prediction]["networks"]]
    for name in needed:  # which grows meanwhile
        if (start := variants[name]["init"]) not in ("backbone", *needed):
            needed.append(start)
    for section, kept in ((variants, needed), (predictions, [prediction, "final"])):
        for name in [*section]:
            if name not in kept:
                del section[name]
    with params.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)


def run(folder: Path, *command: str) -> Cost:
    """Run `command` in `folder` with the tools of this environment, and return what it cost.

    Its output goes to standard error. Raises CalledProcessError where it fails.
    """
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for tracked in ("MLFLOW_TRACKING_URI", "WHALEID_TRACKING", "DVC_ROOT", "DVC_EXP_NAME"):
        environment.pop(tracked, None)
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=sys.stderr)
    peak, done = [0, 0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(psutil.Process(process.pid), peak, done))
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    if code:
        raise subprocess.CalledProcessError(code, command)
    return Cost(seconds, peak[0] / GIB, peak[1] / GIB)


def runs(store: Path, filter_string: str = "") -> "list[Run]":
    """Return the runs in an MLflow store, an SQLite file, that a filter asks for."""
    # not above: processes that a benchmark starts need not load it
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{store}")
    experiments = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(experiments, filter_string, max_results=1000))


def _watch(process: psutil.Process, peak: list[int], done: threading.Event) -> None:
    while not done.wait(SECONDS):
        try:
            memory = [each.memory_info() for each in [process, *process.children(recursive=True)]]
        except psutil.NoSuchProcess:
            continue  # it ended while we looked
        peak[0] = max(peak[0], sum(each.rss for each in memory))
        # where the system does not tell the two apart, all is its own
        peak[1] = max(peak[1], sum(each.rss - getattr(each, "shared", 0) for each in memory))
