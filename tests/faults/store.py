"""Run the tracked commands with MLflow stores that fail.

    python tests/faults/store.py [--only FAULT …] [--commands COMMAND …] [--trained FOLDER]

Each command runs in a separate process, in a small project whose pipeline has already run. The store is an SQLite file,
or an MLflow server behind a proxy. The proxy closes connections, returns status 500, hangs or delays responses: from
the first request, from the first metrics or at the end of the run. Other faults lose one response or return status 500
once. MLflow's timeout is set to 1 second with 2 retries (MLFLOW_HTTP_REQUEST_TIMEOUT, MLFLOW_HTTP_REQUEST_MAX_RETRIES)
to limit the duration of this script; `--patience` keeps MLflow's defaults.

A command must succeed, or fail with one error that names the store and a remedy; it must not hang. All outputs must be
unchanged. Then the same command runs again without the fault and must succeed. Afterwards the command must have its
finished runs below one parent run, no run may be RUNNING, no metric may be logged twice for a step except the parent's,
and a registered model must have one version (two if the response to the first was lost). Prints one row per fault and
command: the exit code, seconds, statuses of the runs, the error, and unexpected results. The last line is one JSON
object.
"""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the test helpers

from faults.disk import (
    Result,
    call,
    contents,
    differences,
    drop_capabilities,
    import_all,
    prepare_project,
    write_protected,
)
from faults.proxy import Fault, Proxy, proxy
from helpers.servers import mlflow_server

COMMANDS = {
    "split": "split",
    "train": "train margin",
    "predict": "predict",
    "register": "register final",
    "compare": "compare",
}
RUN_COUNTS = {"predict": 3}
"""Number of runs of a command that has several: `disk.prepare_project` keeps three predictions."""
MAX_SECONDS = 120
"""Number of seconds after which a command counts as hanging."""
SHORT_TIMEOUTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
SERVER_FAULTS: dict[str, tuple[Fault, str, int, int]] = {
    # the arguments of `Proxy.set`: fault, path part, first request, number of requests
    **{f"{fault} at once": (fault, "", 1, 10**9) for fault in ("die", "500", "hang", "slow")},
    **{f"{fault} in the middle": (fault, "log-batch", 1, 10**9) for fault in ("die", "500", "hang", "slow")},
    **{f"{fault} at the end": (fault, "runs/update", 2, 10**9) for fault in ("die", "500", "hang")},
    **{
        f"one {fault} of {on}": (fault, on, 1, 1)
        for fault in ("lost", "500")
        for on in ("runs/create", "log-batch", "runs/update", "log-inputs", "artifacts", "model-versions/create")
    },
}
"""Faults of a server. The first request of `runs/update` creates the parent run; the second ends the run."""


LOCK_SCRIPT = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


def lock(seconds: float) -> Callable[[Path], Iterator[None]]:
    def fault(database: Path) -> Iterator[None]:
        command = [sys.executable, "-c", LOCK_SCRIPT, str(database), str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
            assert holder.stdout
            holder.stdout.readline()
            yield
            holder.kill()

    return fault


def replace_file(create: Callable[[Path], None]) -> Callable[[Path], Iterator[None]]:
    def fault(database: Path) -> Iterator[None]:
        aside = database.with_suffix(".aside")
        database.replace(aside)
        create(database)
        yield
        if database.is_dir():
            database.rmdir()
        aside.replace(database)

    return fault


def deleted(database: Path) -> Iterator[None]:
    database.unlink()
    yield


def write_protected_file(database: Path) -> Iterator[None]:
    database.chmod(0o444)
    with write_protected(database.parent):
        yield
    database.chmod(0o644)


def newer_version(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database)) as connection, connection:
        [[version]] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    yield
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [version])


def truncate(database: Path) -> None:
    content = database.with_suffix(".aside").read_bytes()
    database.write_bytes(content[: len(content) // 2])


RUN_TABLES = ("tags", "params", "metrics", "latest", "input", "runs", "datasets", "model_", "registered", "logged")
"""Prefixes of the names of the tables that contain runs and models."""
FILE_FAULTS: dict[str, Callable[[Path], Iterator[None]]] = {
    "locked": lock(600),
    "locked for 3 s": lock(3),
    "a folder": replace_file(lambda database: database.mkdir()),
    "cut off": replace_file(truncate),
    "of a newer MLflow": newer_version,
    "missing": deleted,
    "write-protected": write_protected_file,
}
"""Faults of an SQLite file; each function damages or blocks the file, yields, and undoes that (except `missing`)."""


def run_facts(database: Path, command: str, fault: str) -> tuple[dict[str, int], list[str]]:
    """Count the runs of `command` by status, and list what was logged twice.

    If the response to a new model version is lost, MLflow creates a second version.
    """
    stage = command.split()[0]
    with closing(sqlite3.connect(database)) as connection:

        def select(query: str, *values: object) -> list[tuple[object, ...]]:
            return connection.execute(query, values).fetchall()

        ids = "SELECT run_uuid FROM tags WHERE key = 'whaleid.stage' AND value = ?"
        states = Counter(
            str(status) for [status] in select(f"SELECT status FROM runs WHERE run_uuid IN ({ids})", stage)
        )
        twice = [
            f"{count} of {key} at step {step}"
            for key, step, count in select(
                "SELECT key, step, count(*) FROM metrics WHERE run_uuid IN "
                "(SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId') GROUP BY run_uuid, key, step"
            )
            if int(str(count)) > 1
        ]
        [[parents]] = select("SELECT count(DISTINCT value) FROM tags WHERE key = 'mlflow.parentRunId'")
        [[versions]] = select("SELECT count(*) FROM model_versions")
    if int(str(parents)) > 1:
        twice.append(f"{parents} parents")
    if int(str(versions)) > 1 + (fault == "one lost of model-versions/create"):
        twice.append(f"{versions} versions")
    return dict(states), twice


def find_violations(
    result: Result, second: Result, project: Path, before: dict[str, str], database: Path, command: str, fault: str
) -> list[str]:
    """Compare a command under a fault (`result`) and without it (`second`) with the rules; return violations."""
    problems = []
    if result.code not in (0, 1) or (result.code and not result.error) or "Traceback" in result.text:
        problems.append(f"no plain error: exit code {result.code}: {result.text.strip().splitlines()[-1:]}")
    if result.code and "WHALEID_TRACKING=off" not in result.text:
        problems.append(f"no remedy: {result.text.strip().splitlines()[-1:]}")
    if result.seconds > MAX_SECONDS:
        problems.append("it hung")
    if second.code:
        problems.append(f"without the fault: {second.text.strip().splitlines()[-1:]}")
    problems += [
        difference
        for difference in differences(before, contents(project))
        if not difference.split()[1].startswith(("mlflow", "mlart"))
    ]
    if command != COMMANDS["compare"]:
        states, twice = run_facts(database, command, fault)
        problems += [f"logged twice: {entry}" for entry in twice]
        if states.get("FINISHED") != RUN_COUNTS.get(command, 1) * (1 + (result.code == 0)):
            problems.append(f"runs: {states}")
        if states.get("RUNNING"):
            problems.append(f"still running: {states}")
    return problems


@contextmanager
def copied_project(original: Path) -> Iterator[Path]:
    """Yield a copy of the project."""
    with tempfile.TemporaryDirectory(prefix="whaleid-store-") as temporary:
        project = Path(temporary, "project")
        Path(temporary).chmod(0o755)
        shutil.copytree(original, project, copy_function=os.link)  # hard links: outputs are replaced, never modified
        yield project


def run_with_server_fault(
    name: str, command: str, project: Path, proxy_state: Proxy, store: Path, patience: bool
) -> tuple[Result, Result]:
    """Run a command while its server fails, then again without the fault; return both results."""
    environment = {
        "WHALEID_TRACKING": "on",
        "MLFLOW_TRACKING_URI": proxy_state.address,
        **({} if patience else SHORT_TIMEOUTS),
    }
    fault, on, first, count = SERVER_FAULTS[name]
    proxy_state.set(fault, on, first, count)
    result = call(project, command, project.parent / "cache", **environment)
    proxy_state.set("none")
    return result, call(project, command, project.parent / "cache", **environment)


def run_with_file_fault(name: str, command: str, project: Path) -> tuple[Result, Result]:
    """Run a command while its SQLite file cannot be used, then again without the fault; return both results."""
    environment = {"WHALEID_TRACKING": "on", "MLFLOW_TRACKING_URI": ""}
    with contextmanager(FILE_FAULTS[name])(project / "mlflow.db"):
        result = call(project, command, project.parent / "cache", drop_capabilities, **environment)
    return result, call(project, command, project.parent / "cache", **environment)


def main() -> None:
    """Run the requested commands under the requested faults and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    all_faults = [*FILE_FAULTS, *SERVER_FAULTS]
    parser.add_argument("--only", nargs="+", choices=all_faults, default=all_faults, metavar="FAULT")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--trained", type=Path, help="a project made by helpers.project.make_trained")
    parser.add_argument(
        "--patience", action="store_true", help="MLflow's default timeouts; a fault takes up to 20 minutes"
    )
    arguments = parser.parse_args()
    import_all()
    rows: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory(prefix="whaleid-trained-") as temporary:
        original = Path(temporary, "project")
        if arguments.trained:
            shutil.copytree(arguments.trained, original)
        else:
            from helpers.project import make_trained

            original.mkdir()
            make_trained(original)
        prepare_project(original)
        empty = Path(temporary, "empty.db")
        result = call(
            original, "split", original / "cache", WHALEID_TRACKING="on", MLFLOW_TRACKING_URI=f"sqlite:///{empty}"
        )
        assert result.code == 0, result.text
        _delete_runs(empty)

        def report(
            fault: str,
            name: str,
            result: Result,
            second: Result,
            project: Path,
            before: dict[str, str],
            store_path: Path,
        ) -> None:
            broken = find_violations(result, second, project, before, store_path, COMMANDS[name], fault)
            states = run_facts(store_path, COMMANDS[name], fault)[0]
            rows[f"{fault}: {name}"] = {
                "code": result.code,
                "seconds": round(result.seconds, 1),
                "error": result.error,
                "runs": states,
                "broken": broken,
            }
            print(
                f"{fault:24} {name:9} {result.code} {result.seconds:6.1f} s  {states}  {result.error[:200]}", flush=True
            )
            for problem in broken[:5]:
                print(f"    UNEXPECTED: {problem}", flush=True)

        for fault in arguments.only:
            for name in arguments.commands:
                if fault in FILE_FAULTS:
                    with copied_project(original) as project:
                        shutil.copy(empty, project / "mlflow.db")
                        before = contents(project)
                        result, second = run_with_file_fault(fault, COMMANDS[name], project)
                        store_path = project / "mlflow.db"
                        report(fault, name, result, second, project, before, store_path)
        if any(fault in SERVER_FAULTS for fault in arguments.only):
            store = Path(temporary, "server.db")
            shutil.copy(empty, store)
            with mlflow_server(f"sqlite:///{store}") as upstream, proxy(upstream) as proxy_state:
                for fault in [fault for fault in arguments.only if fault in SERVER_FAULTS]:
                    for name in arguments.commands:
                        _delete_runs(store)
                        with copied_project(original) as project:
                            before = contents(project)
                            result, second = run_with_server_fault(
                                fault, COMMANDS[name], project, proxy_state, store, arguments.patience
                            )
                            report(fault, name, result, second, project, before, store)
    broken = sum(bool(row["broken"]) for row in rows.values())
    print(json.dumps({"tried": len(rows), "unexpected": broken, "rows": rows}))
    sys.exit(1 if broken else 0)


def _delete_runs(store: Path) -> None:
    """Delete all runs and models from a store."""
    with closing(sqlite3.connect(store, timeout=30)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for [table] in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if str(table).startswith(RUN_TABLES):
                connection.execute(f"DELETE FROM {table}")


if __name__ == "__main__":
    main()
