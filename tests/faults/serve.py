"""Load-test a served model: check for errors, changed answers and resource leaks, and measure latency.

    python tests/faults/serve.py [--minutes 10] [--clients 16] [--project DIR]

`whaleid register` and `mlflow models serve` run in a project with a bundle: either a small one, built here from the
synthetic catalogue in a few minutes, or a copy of `--project`, where `dvc repro` has run. Each client sends one photo
or a batch of eight; one request in a hundred is invalid or contains an invalid photo. Every answer is compared with the
one before the load test; invalid input must get the documented error. The server's memory, open files and threads are
sampled during the test. Prints a table and, as the last line, one JSON object. Exits with 1 if any answer was wrong or
a resource grew.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]

from identify import make_bundle  # noqa: E402
from measure import run  # noqa: E402

HOST = "127.0.0.1"
START_SECONDS = 300
RESPONSE_SECONDS = 120
"""Timeout of a request, in seconds."""
BATCH_SIZE = 8
INVALID_SHARE, BATCH_SHARE = 0.01, 0.3
"""Share of invalid requests, and share of batches among the valid ones."""
MAX_GROWTH = 64
"""Maximum growth in MiB, open files and threads after the first quarter of the test."""
TOLERANCE = 2.5e-4
"""Maximum difference of probabilities: they have four decimals, and a different batch size may change the rounding."""
Row = dict[str, object]
"""An answer of the server: `names`, `probabilities`, `same_as` and `problem`."""
INVALID_PHOTOS: dict[object, str] = {
    "!!": "This is neither base64 nor a data:, file: or http(s): URI.",
    base64.b64encode(b"no photo").decode(): "not an image in a known format",
    "": "an empty file",
    "file:///etc/passwd": "may not be read",
    5: "A photo must be text: its file in base64, or a URI; this is int.",
}
"""Values that are not a photo, with a part of the error. The other photos of the request must be answered."""
INVALID_REQUESTS = [b"{", b'{"dataframe_records": [{"picture": "x"}]}', b"[]"]
"""Request bodies that must be refused with status 400."""


@dataclass
class Results:
    """The results of all clients."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"single": [], "batch": [], "invalid": []})
    """The latency of each request, by kind."""
    faults: list[str] = field(default_factory=list)


def main() -> int:
    """Run the load test, print its results and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--project", type=Path, help="a project where `dvc repro` has run; it is copied")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        project, variant = Path(temporary) / "project", "ensemble"
        if arguments.project:
            variant = "final"
            shutil.copytree(arguments.project, project, ignore=shutil.ignore_patterns(".git", "mlflow.db", "ml*facts"))
        else:
            make_bundle(project, "sample")
        figures = measure(project, variant, arguments.minutes, arguments.clients)
    print(json.dumps(figures))
    return int(bool(figures["faults"] or figures["grown"]))


def measure(project: Path, variant: str, minutes: float, clients: int) -> dict[str, object]:
    """Register and serve `variant` and test it for `minutes`; return figures, first `faults` and `grown` resources."""
    os.environ["PYTHONPATH"] = str(ROOT)
    run(project, sys.executable, "-m", "whaleid", "register", variant)
    cells = [base64.b64encode(path.read_bytes()).decode() for path in sorted((project / "data/sample/test").iterdir())]
    with served(project) as (port, server):
        expected = [ask(port, [cell])[0] for cell in cells]
        results, deadline = Results(), time.monotonic() + 60 * minutes
        threads = [
            threading.Thread(target=client, args=(port, cells, expected, deadline, random.Random(number), results))
            for number in range(clients)
        ]
        samples = [resources(server)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        print(f"{'minute':>8}{'MiB':>10}{'files':>8}{'threads':>9}")
        steps = max(4, round(minutes))
        for step in range(steps):
            time.sleep(max(0.0, started + 60 * minutes * (step + 1) / steps - time.monotonic() - 0.2))
            samples.append(resources(server))
            mib, files, count = samples[-1]
            print(f"{minutes * (step + 1) / steps:8.2f}{mib:10.0f}{files:8}{count:9}", flush=True)
        for thread in threads:
            thread.join()
        duration = time.monotonic() - started
        results.faults += (
            [] if [ask(port, [cell])[0] for cell in cells[:20]] == expected[:20] else ["wrong answers after the load"]
        )
    names = ("MiB", "files", "threads")
    early = samples[1 + steps // 4]
    grown = [name for name, now, then in zip(names, samples[-1], early, strict=True) if now > then + MAX_GROWTH]
    counts = {kind: len(seconds) for kind, seconds in results.seconds.items()}
    photos_answered = counts["single"] + BATCH_SIZE * counts["batch"]
    figures: dict[str, object] = {
        "clients": clients,
        "requests": counts,
        "requests_per_second": round(sum(counts.values()) / duration, 1),
        "photos_per_second": round(photos_answered / duration, 1),
    }
    for kind, seconds in results.seconds.items():
        if seconds:
            p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
            figures[f"{kind}_ms"] = {"p50": round(1000 * p50), "p95": round(1000 * p95), "p99": round(1000 * p99)}
            print(f"{kind:8} {len(seconds):7} requests: p50 {p50:.3f} s, p95 {p95:.3f} s, p99 {p99:.3f} s")
    print(f"{figures['requests_per_second']} requests/s, {figures['photos_per_second']} photos/s")
    resource_figures = {
        name: [sample[index] for sample in (samples[0], early, samples[-1])] for index, name in enumerate(names)
    }
    return (
        figures
        | resource_figures
        | {"load": os.getloadavg()[0], "fault_count": len(results.faults), "faults": results.faults[:5], "grown": grown}
    )


@contextmanager
def served(project: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Serve a project's champion with the documented command until the block ends; yield its port and process."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--host", HOST]
    command += ["--port", str(port), "-m", "models:/whaleid@champion"]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{project.resolve() / 'mlflow.db'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    log = project / "serve.log"
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            command, cwd=project, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError):
                connection = http.client.HTTPConnection(HOST, port, timeout=5)
                connection.request("GET", "/ping")
                if connection.getresponse().status == 200:
                    break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")
            time.sleep(0.2)
        yield port, psutil.Process(server.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=15)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def resources(server: psutil.Process) -> tuple[int, int, int]:
    """Return the memory (MiB) and the numbers of open files and threads of a server and its children."""
    processes = [server, *server.children(recursive=True)]
    memory = sum(process.memory_info().rss for process in processes) // 2**20
    return memory, sum(process.num_fds() for process in processes), sum(process.num_threads() for process in processes)


def post_request(port: int, body: bytes) -> tuple[int, bytes]:
    """Send a request over a new connection and return the status and body of the response."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=RESPONSE_SECONDS)) as connection:
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()


def ask(port: int, cells: Sequence[object]) -> list[Row]:
    """Return the server's answer for each photo in `cells`."""
    status, content = post_request(
        port, json.dumps({"dataframe_records": [{"photo": cell} for cell in cells]}).encode()
    )
    if status != 200:
        raise RuntimeError(f"{status}: {content[:500]!r}")
    rows: list[Row] = json.loads(content)["predictions"]
    return rows


def client(
    port: int, cells: list[str], expected: list[Row], deadline: float, rng: random.Random, results: Results
) -> None:
    """Send one request after another until the deadline."""
    while time.monotonic() < deadline:
        batch = rng.random() < BATCH_SHARE
        chosen = [rng.randrange(len(cells)) for _ in range(BATCH_SIZE if batch else 1)]
        invalid = rng.random() < INVALID_SHARE
        started = time.perf_counter()
        try:
            if invalid:
                fault = _send_invalid(port, cells[chosen[0]], expected[chosen[0]], rng)
            else:
                rows = ask(port, [cells[index] for index in chosen])
                fault = _difference(rows, [expected[index] for index in chosen])
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"
        if fault:
            results.faults.append(fault)
        results.seconds["invalid" if invalid else "batch" if batch else "single"].append(time.perf_counter() - started)


def _send_invalid(port: int, cell: str, expected_row: Row, rng: random.Random) -> str:
    """Send an invalid request, or an invalid photo with a valid one; return the fault, or an empty string."""
    if rng.random() < 0.5:
        body = rng.choice(INVALID_REQUESTS)
        status, content = post_request(port, body)
        return "" if status == 400 else f"{body!r} was answered by {status}: {content[:300]!r}"
    invalid, problem = rng.choice([*INVALID_PHOTOS.items()])
    rows = ask(port, [invalid, cell])
    if problem not in str(rows[0]["problem"]) or rows[0]["names"]:
        return f"{invalid!r} was answered by {rows[0]}"
    return _difference(rows[1:], [expected_row])


def _difference(rows: list[Row], expected: list[Row]) -> str:
    """Return the first answer that differs from the expected one, or an empty string."""
    for row, expected_row in zip(rows, expected, strict=True):
        p, q = (np.array(answer["probabilities"], dtype=float) for answer in (row, expected_row))
        if p.shape != q.shape or np.abs(p - q).max() > TOLERANCE or _comparable(row) != _comparable(expected_row):
            return f"{row} instead of {expected_row}"
    return ""


def _comparable(row: Row) -> object:
    """Return the exact part of an answer, with sorted names: names of similar probability may swap."""
    names, probabilities = row["names"], row["probabilities"]
    assert isinstance(names, list)
    assert isinstance(probabilities, list)
    ranked = [name for name, probability in zip(names, probabilities, strict=True) if probability > 10 * TOLERANCE]
    return sorted(ranked), row["same_as"], row["problem"]


if __name__ == "__main__":
    sys.exit(main())
