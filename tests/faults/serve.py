"""The served model under many clients: no error, no answer changed, no growth, and how long answers take.

    python tests/faults/serve.py [--minutes 10] [--clients 16] [--project DIR]

`whaleid register` and `mlflow models serve` run in a project that has a bundle: one of the drawn catalogue at the
sample's size, made here in some minutes, or a copy of that of `--project`, where `dvc repro` has run. Each client asks
for a photo, for eight at once or, one time in a hundred, for something that is no request or no photo. Every answer is
compared with the one given before the load; whatever is wrong has to be answered as documented. Looks at the server's
memory, open files and threads all the while. Prints a table and, as its last line, one JSON object; exits with 1 where
anything was wrong or grew.
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
PATIENCE = 120
"""Seconds for an answer."""
TOGETHER = 8
BAD, SEVERAL = 0.01, 0.3
"""Shares of requests: wrong ones, and of the others, those of several photos."""
GROWTH = 64
"""MiB, files and threads that a server may gain after the first quarter of the time."""
CLOSE = 2.5e-4
"""Probabilities are rounded to four decimals; photos that are computed together may round otherwise."""
Row = dict[str, object]
UNREADABLE: dict[object, str] = {
    "!!": "This is neither base64 nor a data:, file: or http(s): URI.",
    base64.b64encode(b"no photo").decode(): "no image in a format that is known",
    "": "an empty file",
    "file:///etc/passwd": "may not be read",
    5: "A photo must be text: its file in base64, or a URI; this is int.",
}
"""Cells that are no photo, and what is said of each; what stands beside them is answered."""
REFUSED = [b"{", b'{"dataframe_records": [{"picture": "x"}]}', b"[]"]
"""Requests that are none: status 400."""


@dataclass
class Seen:
    """What clients saw."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"one": [], "several": [], "wrong": []})
    faults: list[str] = field(default_factory=list)


def main() -> int:
    """Serve, ask, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--project", type=Path, help="where `dvc repro` has run; it is left as it is")
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
    """Register `variant`, serve it, ask it for `minutes`; return figures, the first `faults` and what has `grown`."""
    os.environ["PYTHONPATH"] = str(ROOT)
    run(project, sys.executable, "-m", "whaleid", "register", variant)
    cells = [base64.b64encode(path.read_bytes()).decode() for path in sorted((project / "data/sample/test").iterdir())]
    with served(project) as (port, server):
        expected = [ask(port, [cell])[0] for cell in cells]
        seen, done = Seen(), time.monotonic() + 60 * minutes
        threads = [
            threading.Thread(target=client, args=(port, cells, expected, done, random.Random(number), seen))
            for number in range(clients)
        ]
        looks = [look(server)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        print(f"{'minute':>8}{'MiB':>10}{'files':>8}{'threads':>9}")
        steps = max(4, round(minutes))
        for step in range(steps):
            time.sleep(max(0.0, began + 60 * minutes * (step + 1) / steps - time.monotonic() - 0.2))
            looks.append(look(server))
            mib, files, count = looks[-1]
            print(f"{minutes * (step + 1) / steps:8.2f}{mib:10.0f}{files:8}{count:9}", flush=True)
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        seen.faults += [] if [ask(port, [cell])[0] for cell in cells[:20]] == expected[:20] else ["afterwards"]
    names = ("MiB", "files", "threads")
    early = looks[1 + steps // 4]
    grown = [name for name, now, then in zip(names, looks[-1], early, strict=True) if now > then + GROWTH]
    counts = {kind: len(found) for kind, found in seen.seconds.items()}
    answered = counts["one"] + TOGETHER * counts["several"]
    figures: dict[str, object] = {
        "clients": clients,
        "requests": counts,
        "requests_per_second": round(sum(counts.values()) / took, 1),
        "photos_per_second": round(answered / took, 1),
    }
    for kind, found in seen.seconds.items():
        if found:
            p50, p95, p99 = np.percentile(found, [50, 95, 99])
            figures[f"{kind}_ms"] = {"p50": round(1000 * p50), "p95": round(1000 * p95), "p99": round(1000 * p99)}
            print(f"{kind:8} {len(found):7} requests: p50 {p50:.3f} s, p95 {p95:.3f} s, p99 {p99:.3f} s")
    print(f"{figures['requests_per_second']} requests/s, {figures['photos_per_second']} photos/s")
    looked = {name: [each[place] for each in (looks[0], early, looks[-1])] for place, name in enumerate(names)}
    return (
        figures
        | looked
        | {"load": os.getloadavg()[0], "wrong": len(seen.faults), "faults": seen.faults[:5], "grown": grown}
    )


@contextmanager
def served(project: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Serve the champion of a project until the block ends, as its documentation says; yield the port and process."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--host", HOST]
    command += ["--port", str(port), "-m", "models:/whaleid@champion"]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{project.resolve() / 'mlflow.db'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    log = project / "serve.log"
    with log.open("w", encoding="utf-8") as said:
        server = subprocess.Popen(
            command, cwd=project, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
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


def look(server: psutil.Process) -> tuple[int, int, int]:
    """Return MiB of memory, open files and threads of a server and its children."""
    each = [server, *server.children(recursive=True)]
    memory = sum(one.memory_info().rss for one in each) // 2**20
    return memory, sum(one.num_fds() for one in each), sum(one.num_threads() for one in each)


def post(port: int, body: bytes) -> tuple[int, bytes]:
    """Return the status and the body of the answer to a request, which has a connection of its own."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=PATIENCE)) as connection:
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def ask(port: int, cells: Sequence[object]) -> list[Row]:
    """Return what is answered of each photo."""
    status, said = post(port, json.dumps({"dataframe_records": [{"photo": cell} for cell in cells]}).encode())
    if status != 200:
        raise RuntimeError(f"{status}: {said[:500]!r}")
    rows: list[Row] = json.loads(said)["predictions"]
    return rows


def client(port: int, cells: list[str], expected: list[Row], done: float, chance: random.Random, seen: Seen) -> None:
    """Ask one time after another until it is time."""
    while time.monotonic() < done:
        several = chance.random() < SEVERAL
        chosen = [chance.randrange(len(cells)) for _ in range(TOGETHER if several else 1)]
        wrong = chance.random() < BAD
        began = time.perf_counter()
        try:
            if wrong:
                fault = _wrong(port, cells[chosen[0]], expected[chosen[0]], chance)
            else:
                rows = ask(port, [cells[place] for place in chosen])
                fault = _difference(rows, [expected[place] for place in chosen])
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"
        if fault:
            seen.faults.append(fault)
        seen.seconds["wrong" if wrong else "several" if several else "one"].append(time.perf_counter() - began)


def _wrong(port: int, cell: str, right: Row, chance: random.Random) -> str:
    """Ask for what is no photo beside one that is, or for nothing that makes sense; return what is not as it should."""
    if chance.random() < 0.5:
        body = chance.choice(REFUSED)
        status, said = post(port, body)
        return "" if status == 400 else f"{body!r} was answered by {status}: {said[:300]!r}"
    bad, problem = chance.choice([*UNREADABLE.items()])
    rows = ask(port, [bad, cell])
    if problem not in str(rows[0]["problem"]) or rows[0]["names"]:
        return f"{bad!r} was answered by {rows[0]}"
    return _difference(rows[1:], [right])


def _difference(rows: list[Row], expected: list[Row]) -> str:
    """Return how answers differ from those that are expected, if they do."""
    for row, right in zip(rows, expected, strict=True):
        said, known = (np.array(each["probabilities"], dtype=float) for each in (row, right))
        if said.shape != known.shape or np.abs(said - known).max() > CLOSE or _order(row) != _order(right):
            return f"{row} instead of {right}"
    return ""


def _order(row: Row) -> object:
    """Return what must not change: names may swap where their probabilities are the same."""
    names, probabilities = row["names"], row["probabilities"]
    assert isinstance(names, list)
    assert isinstance(probabilities, list)
    ranked = [name for name, likely in zip(names, probabilities, strict=True) if likely > 10 * CLOSE]
    return sorted(ranked), row["same_as"], row["problem"]


if __name__ == "__main__":
    sys.exit(main())
