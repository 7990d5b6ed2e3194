"""Kill every stage with SIGKILL at random moments: the next `dvc repro` continues, and the results do not change.

The default pipeline, with few photos, runs once undisturbed. In a second repository, `dvc repro` and all its child
processes are killed repeatedly: in every stage, at a random moment of its undisturbed duration (during training,
writing or DVC's own work after the stage), and in DVC before the first stage. After another `dvc repro` has completed a
stage, no MLflow run of a killed stage may be RUNNING. At the end, `dvc repro` must succeed, every file must be
identical to the undisturbed run's, no temporary file may remain, and no MLflow run may be RUNNING.

    python tests/faults/kills.py [--each 2] [--seed 0]
"""

import argparse
import json
import os
import queue
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the test helpers

from helpers import repository
from helpers.project import init_repository

REMEDIES = {"Unable to read RWLock-file": ".dvc/tmp/rwlock", "is busy, it is being blocked by": ".dvc/tmp/rwlock"}
"""DVC's messages about a stale lock, with the file to remove (see docs/reference.md)."""
BEFORE_FIRST_STAGE = "dvc, before a stage"
MAX_FRACTION = 0.95
"""Kills happen within this fraction of a stage's undisturbed duration."""


class Command:
    """A command in a separate process group, with its output read line by line while it runs."""

    def __init__(self, folder: Path, environment: dict[str, str], *command: str) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def line(self, timeout: float | None = None) -> str | None:
        """Return the next line, or None at the end of the output.

        Raises:
            queue.Empty: no line arrived within `timeout` seconds.
        """
        return self._lines.get(timeout=timeout)

    def kill(self) -> None:
        """Kill the command and all its child processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self.code()

    def code(self) -> int:
        """Wait for the command to end and return its exit code."""
        self._process.wait()
        self._reader.join()
        return self._process.returncode

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line
            self._lines.put(line)
        self._lines.put(None)


def run_undisturbed(folder: Path, environment: dict[str, str]) -> dict[str, float]:
    """Run the pipeline; map each stage, and `BEFORE_FIRST_STAGE`, to its duration in seconds."""
    repro = Command(folder, environment, "dvc", "repro")
    stage, started, seconds = BEFORE_FIRST_STAGE, time.monotonic(), {}
    while (line := repro.line()) is not None:
        if match := repository.STAGE_STARTED.match(line):
            now = time.monotonic()
            seconds[stage] = now - started
            stage, started = match[1], now
    seconds[stage] = time.monotonic() - started
    assert repro.code() == 0, repro.output
    return seconds


def run_and_kill(
    folder: Path,
    environment: dict[str, str],
    seconds: dict[str, float],
    kills_per_stage: int,
    rng: random.Random,
    killed: set[str],
    *options: str,
) -> tuple[str | None, str]:
    """Start `dvc repro` and kill it in a stage with fewer than `kills_per_stage` kills; return the stage and output.

    The stage is None if `dvc repro` ended before the kill. `killed` contains the ids of the MLflow runs that earlier
    kills left RUNNING. When a stage has completed, this checks that none of them is RUNNING and clears the set.
    """
    repro = Command(folder, environment, "dvc", "repro", *options)
    stage, until = BEFORE_FIRST_STAGE, None
    if kills_per_stage and rng.random() < 0.15:
        until = time.monotonic() + rng.uniform(0, seconds[BEFORE_FIRST_STAGE])
    while True:
        try:
            line = repro.line(None if until is None else max(0.0, until - time.monotonic()))
        except queue.Empty:
            repro.kill()
            return stage, repro.output
        if line is None:
            refused = any(message in repro.output for message in REMEDIES)
            assert repro.code() == 0 or refused, repro.output
            return None, repro.output
        if match := repository.STAGE_STARTED.match(line):
            if stage != BEFORE_FIRST_STAGE and killed:  # a stage has completed
                status_by_run = repository.status_by_run(folder)
                assert "RUNNING" not in {status_by_run[run] for run in killed}, repro.output
                FINAL_STATUSES.update(status_by_run[run] for run in killed)
                killed.clear()
            stage = match[1]
            if until is None and KILLS[stage] < kills_per_stage:
                until = time.monotonic() + rng.uniform(0, MAX_FRACTION * seconds[stage])


KILLS: Counter[str] = Counter()
"""Number of kills by stage."""
FINAL_STATUSES: Counter[str] = Counter()
"""Number of MLflow runs of killed stages by their status after the next stage."""


def main(kills_per_stage: int, seed: int, root: Path) -> dict[str, object]:
    environment, rng = repository.environment(root / "cache"), random.Random(seed)
    for name in ("undisturbed", "killed"):
        (root / name).mkdir()
        init_repository(root / name)
    started = time.monotonic()
    seconds = run_undisturbed(root / "undisturbed", environment)
    print(f"undisturbed: {len(seconds) - 1} stages in {time.monotonic() - started:.0f} s", flush=True)

    folder, started = root / "killed", time.monotonic()
    remedies: Counter[str] = Counter()
    temporary_files: Counter[str] = Counter()
    killed: set[str] = set()
    options: tuple[str, ...] = ()
    while True:
        stage, output = run_and_kill(folder, environment, seconds, kills_per_stage, rng, killed, *options)
        if stage is None:
            message = next((message for message in REMEDIES if message in output), None)
            if message is not None:
                remedies[message] += 1
                (folder / REMEDIES[message]).unlink()
                continue
            # on a machine that got faster, a stage may end before its kill: run it again alone, and kill it earlier
            missed = [name for name in seconds if name != BEFORE_FIRST_STAGE and KILLS[name] < kills_per_stage]
            if not missed:
                break
            options = ("--force", "--single-item", missed[0])
            seconds = {name: duration * 0.8 for name, duration in seconds.items()}
            continue
        KILLS[stage] += 1
        killed |= {run for run, status in repository.status_by_run(folder).items() if status == "RUNNING"}
        running = len(killed)
        strays = repository.temporary_files(folder)
        temporary_files.update(name_pattern(name) for name in strays)
        files = ", ".join(strays) or "none"
        print(f"{sum(KILLS.values()):3} {stage}: {running} runs RUNNING, temporary files: {files}", flush=True)

    final = Command(folder, environment, "dvc", "repro")
    assert final.code() == 0, final.output
    assert "Data and pipelines are up to date." in final.output, final.output
    statuses = Counter(repository.statuses(folder))
    return {
        "kills": sum(KILLS.values()),
        "stages": len(seconds) - 1,
        "hits": dict(sorted(KILLS.items())),
        "seconds": round(time.monotonic() - started),
        "remedies": dict(remedies),
        "runs_of_killed_stages_after_the_next_stage": dict(FINAL_STATUSES),
        "runs": dict(sorted(statuses.items())),
        "temporary_files_by_kills": dict(sorted(temporary_files.items())),
        "temporary_files_at_the_end": repository.temporary_files(folder),
        "files": len(repository.digests(folder)),
        "different": repository.differing_files(repository.digests(root / "undisturbed"), repository.digests(folder)),
        "dvc_temporary": [
            path.relative_to(folder).as_posix() for path in (folder / ".dvc").rglob("*") if path.name.endswith(".tmp")
        ],
    }


def name_pattern(name: str) -> str:
    """Return the name of a temporary file with its process id replaced by PID."""
    return re.sub(r"\.\d+\.", ".PID.", name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=2, help="minimum number of kills per stage")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = main(arguments.each, arguments.seed, Path(folder))
        print(json.dumps(result), flush=True)
    assert not result["different"], result["different"]
    assert not result["temporary_files_at_the_end"]
    assert "RUNNING" not in result["runs"]
