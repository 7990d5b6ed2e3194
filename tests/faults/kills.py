"""SIGKILL at random moments of every stage: the next `dvc repro` goes on, and all ends as if nothing had happened.

The sample pipeline at a sliver's size runs once undisturbed. In a second repository, `dvc repro` and all that it
started are killed again and again: every stage, at random moments of the time that it took undisturbed (training or
writing, DVC's own work after it too), and DVC itself before it comes to a stage. As soon as another
`dvc repro` has run a stage, no run of a killed one may be RUNNING. In the end `dvc repro` has to complete; every file
has to equal that of the undisturbed run; no temporary file may be left; no run may be RUNNING.

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

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own modules

from helpers import repository
from helpers.project import init_repository

REMEDIES = {"Unable to read RWLock-file": ".dvc/tmp/rwlock", "is busy, it is being blocked by": ".dvc/tmp/rwlock"}
"""What DVC says where its lock was left behind, and the file to remove then: docs/reference.md."""
BEFORE = "dvc, before a stage"
WITHIN = 0.95
"""Of the time that a stage took undisturbed: the part in which it is killed."""


class Command:
    """A command in a process group of its own, whose lines are read as they come."""

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
        self.said = ""
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def line(self, timeout: float | None = None) -> str | None:
        """Return the next line, None where there will be none.

        Raises:
            queue.Empty: none came in time.
        """
        return self._lines.get(timeout=timeout)

    def kill(self) -> None:
        """Kill it and all that it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self.code()

    def code(self) -> int:
        """Wait for its end and return its exit code."""
        self._process.wait()
        self._reader.join()
        return self._process.returncode

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said += line
            self._lines.put(line)
        self._lines.put(None)


def undisturbed(folder: Path, environment: dict[str, str]) -> dict[str, float]:
    """Run the pipeline; return how many seconds each stage took, and DVC before the first."""
    repro = Command(folder, environment, "dvc", "repro")
    at, began, seconds = BEFORE, time.monotonic(), {}
    while (line := repro.line()) is not None:
        if found := repository.STAGE_STARTED.match(line):
            now = time.monotonic()
            seconds[at] = now - began
            at, began = found[1], now
    seconds[at] = time.monotonic() - began
    assert repro.code() == 0, repro.said
    return seconds


def disturbed(
    folder: Path,
    environment: dict[str, str],
    seconds: dict[str, float],
    each: int,
    chance: random.Random,
    killed: set[str],
    *options: str,
) -> tuple[str | None, str]:
    """Start `dvc repro` and kill it in a stage that was not yet hit often enough; return where, and what it said.

    `None` where it came to its end before that. `killed` are the runs that earlier kills left RUNNING: once a stage has
    run, none may be so any more, and they are taken out.
    """
    repro = Command(folder, environment, "dvc", "repro", *options)
    at, until = BEFORE, None
    if each and chance.random() < 0.15:
        until = time.monotonic() + chance.uniform(0, seconds[BEFORE])
    while True:
        try:
            line = repro.line(None if until is None else max(0.0, until - time.monotonic()))
        except queue.Empty:
            repro.kill()
            return at, repro.said
        if line is None:
            refused = any(message in repro.said for message in REMEDIES)
            assert repro.code() == 0 or refused, repro.said
            return None, repro.said
        if found := repository.STAGE_STARTED.match(line):
            if at != BEFORE and killed:  # one has run
                known = repository.status_by_run(folder)
                assert "RUNNING" not in {known[run] for run in killed}, repro.said
                ENDED.update(known[run] for run in killed)
                killed.clear()
            at = found[1]
            if until is None and HITS[at] < each:
                until = time.monotonic() + chance.uniform(0, WITHIN * seconds[at])


HITS: Counter[str] = Counter()
ENDED: Counter[str] = Counter()
"""How runs of killed stages stood, after the next stage."""


def main(each: int, seed: int, home: Path) -> dict[str, object]:
    environment, chance = repository.environment(home / "cache"), random.Random(seed)
    for name in ("whole", "killed"):
        (home / name).mkdir()
        init_repository(home / name)
    began = time.monotonic()
    seconds = undisturbed(home / "whole", environment)
    print(f"undisturbed: {len(seconds) - 1} stages in {time.monotonic() - began:.0f} s", flush=True)

    folder, began = home / "killed", time.monotonic()
    remedies: Counter[str] = Counter()
    left: Counter[str] = Counter()
    killed: set[str] = set()
    options: tuple[str, ...] = ()
    while True:
        at, said = disturbed(folder, environment, seconds, each, chance, killed, *options)
        if at is None:
            message = next((message for message in REMEDIES if message in said), None)
            if message is not None:
                remedies[message] += 1
                (folder / REMEDIES[message]).unlink()
                continue
            # a stage may have ended before its moment, where the machine got faster: once more, by itself
            missed = [name for name in seconds if name != BEFORE and HITS[name] < each]
            if not missed:
                break
            options = ("--force", "--single-item", missed[0])
            seconds = {name: took * 0.8 for name, took in seconds.items()}
            continue
        HITS[at] += 1
        killed |= {run for run, status in repository.status_by_run(folder).items() if status == "RUNNING"}
        running = len(killed)
        found = repository.temporary_files(folder)
        left.update(kind(name) for name in found)
        print(f"{sum(HITS.values()):3} {at}: {running} running, left: {', '.join(found) or 'nothing'}", flush=True)

    final = Command(folder, environment, "dvc", "repro")
    assert final.code() == 0, final.said
    assert "Data and pipelines are up to date." in final.said, final.said
    statuses = Counter(repository.statuses(folder))
    return {
        "kills": sum(HITS.values()),
        "stages": len(seconds) - 1,
        "hits": dict(sorted(HITS.items())),
        "seconds": round(time.monotonic() - began),
        "remedies": dict(remedies),
        "runs_of_killed_stages_after_the_next_stage": dict(ENDED),
        "runs": dict(sorted(statuses.items())),
        "temporary_files_by_kills": dict(sorted(left.items())),
        "temporary_files_at_the_end": repository.temporary_files(folder),
        "files": len(repository.digests(folder)),
        "different": repository.differing_files(repository.digests(home / "whole"), repository.digests(folder)),
        "dvc_temporary": [
            path.relative_to(folder).as_posix() for path in (folder / ".dvc").rglob("*") if path.name.endswith(".tmp")
        ],
    }


def kind(name: str) -> str:
    """Return what a temporary file is called, without its process."""
    return re.sub(r"\.\d+\.", ".PID.", name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=2, help="how often each stage is hit, at least")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = main(asked.each, asked.seed, Path(folder))
        print(json.dumps(result), flush=True)
    assert not result["different"], result["different"]
    assert not result["temporary_files_at_the_end"]
    assert "RUNNING" not in result["runs"]
