"""What MLflow stores that fail do to the commands that are tracked.

    python tests/faults/store.py [--only FAULT …] [--commands COMMAND …] [--trained FOLDER]

Each command runs in a process of its own, in a project where all has run already, on a sliver of the drawn catalogue;
its store is an SQLite file, or a server of MLflow's behind one that does what is asked of it: it dies, answers 500,
hangs or is slow from the beginning, from the first metrics on or at the end, or loses one answer, or answers 500 once.
A server is given up after 1 second and asked twice more (MLFLOW_HTTP_REQUEST_TIMEOUT, MLFLOW_HTTP_REQUEST_MAX_RETRIES),
so that this script ends some day; `--patience` leaves MLflow's own.

A command has to fail with one plain error that names the store and says what to do, or to succeed; it may not hang. All
outputs have to be as before. Then the fault is mended and the same command run again, which has to succeed: afterwards
there have to be the finished runs of the command below one parent, none RUNNING, no metric twice at a step but for the
parent's, and one version of a registered model (two where the answer to the first was lost). Prints a row a fault and
command: exit code, seconds, the states of the runs, the error, and what is not as promised. The last line is one JSON
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

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own modules

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
RUNS = {"predict": 3}
"""Of a command, where they are several: `disk.prepared` leaves so many predictions."""
MOST = 120
"""Seconds after which a command is taken to hang."""
BRIEF = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
SERVED: dict[str, tuple[Fault, str, int, int]] = {
    # the fault, from which request on, which of those, and how many requests meet it
    **{f"{fault} at once": (fault, "", 1, 10**9) for fault in ("die", "500", "hang", "slow")},
    **{f"{fault} in the middle": (fault, "log-batch", 1, 10**9) for fault in ("die", "500", "hang", "slow")},
    **{f"{fault} at the end": (fault, "runs/update", 2, 10**9) for fault in ("die", "500", "hang")},
    **{
        f"one {fault} of {on}": (fault, on, 1, 1)
        for fault in ("lost", "500")
        for on in ("runs/create", "log-batch", "runs/update", "log-inputs", "artifacts", "model-versions/create")
    },
}
"""Of a server. `runs/update` comes first when the parent is made, and then when the run ends."""


HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


def locked(seconds: float) -> Callable[[Path], Iterator[None]]:
    def fault(database: Path) -> Iterator[None]:
        command = [sys.executable, "-c", HOLDER, str(database), str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
            assert holder.stdout
            holder.stdout.readline()
            yield
            holder.kill()

    return fault


def replaced(make: Callable[[Path], None]) -> Callable[[Path], Iterator[None]]:
    def fault(database: Path) -> Iterator[None]:
        aside = database.with_suffix(".aside")
        database.replace(aside)
        make(database)
        yield
        if database.is_dir():
            database.rmdir()
        aside.replace(database)

    return fault


def missing(database: Path) -> Iterator[None]:
    database.unlink()
    yield


def protected(database: Path) -> Iterator[None]:
    database.chmod(0o444)
    with write_protected(database.parent):
        yield
    database.chmod(0o644)


def newer(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database)) as connection, connection:
        [[version]] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    yield
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [version])


def half(database: Path) -> None:
    content = database.with_suffix(".aside").read_bytes()
    database.write_bytes(content[: len(content) // 2])


OF_RUNS = ("tags", "params", "metrics", "latest", "input", "runs", "datasets", "model_", "registered", "logged")
"""How tables of a store begin whose rows go when it is emptied."""
FILES: dict[str, Callable[[Path], Iterator[None]]] = {
    "locked": locked(600),
    "locked for 3 s": locked(3),
    "a folder": replaced(lambda database: database.mkdir()),
    "cut off": replaced(half),
    "of a newer MLflow": newer,
    "missing": missing,
    "write-protected": protected,
}
"""Of an SQLite file, and what is left of it."""


def facts(database: Path, command: str, fault: str) -> tuple[dict[str, int], list[str]]:
    """Return how many runs of `command` are in which state, and what there is twice.

    Where the answer to a new version is lost, MLflow creates another one.
    """
    stage = command.split()[0]
    with closing(sqlite3.connect(database)) as connection:

        def arguments(query: str, *values: object) -> list[tuple[object, ...]]:
            return connection.execute(query, values).fetchall()

        theirs = "SELECT run_uuid FROM tags WHERE key = 'whaleid.stage' AND value = ?"
        states = Counter(
            str(each) for [each] in arguments(f"SELECT status FROM runs WHERE run_uuid IN ({theirs})", stage)
        )
        twice = [
            f"{count} of {key} at step {step}"
            for key, step, count in arguments(
                "SELECT key, step, count(*) FROM metrics WHERE run_uuid IN "
                "(SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId') GROUP BY run_uuid, key, step"
            )
            if int(str(count)) > 1
        ]
        [[parents]] = arguments("SELECT count(DISTINCT value) FROM tags WHERE key = 'mlflow.parentRunId'")
        [[versions]] = arguments("SELECT count(*) FROM model_versions")
    if int(str(parents)) > 1:
        twice.append(f"{parents} parents")
    if int(str(versions)) > 1 + (fault == "one lost of model-versions/create"):
        twice.append(f"{versions} versions")
    return dict(states), twice


def judged(
    result: Result, again: Result, project: Path, before: dict[str, str], database: Path, command: str, fault: str
) -> list[str]:
    """Return what is not as promised."""
    said = []
    if result.code not in (0, 1) or (result.code and not result.error) or "Traceback" in result.text:
        said.append(f"no plain error: exit code {result.code}: {result.text.strip().splitlines()[-1:]}")
    if result.code and "WHALEID_TRACKING=off" not in result.text:
        said.append(f"no remedy: {result.text.strip().splitlines()[-1:]}")
    if result.seconds > MOST:
        said.append("it hung")
    if again.code:
        said.append(f"afterwards: {again.text.strip().splitlines()[-1:]}")
    said += [
        each for each in differences(before, contents(project)) if not each.split()[1].startswith(("mlflow", "mlart"))
    ]
    if command != COMMANDS["compare"]:
        states, twice = facts(database, command, fault)
        said += [f"twice: {each}" for each in twice]
        if states.get("FINISHED") != RUNS.get(command, 1) * (1 + (result.code == 0)):
            said.append(f"runs: {states}")
        if states.get("RUNNING"):
            said.append(f"still running: {states}")
    return said


@contextmanager
def fresh(original: Path) -> Iterator[Path]:
    """Yield a copy of the project."""
    with tempfile.TemporaryDirectory(prefix="whaleid-store-") as temporary:
        project = Path(temporary, "project")
        Path(temporary).chmod(0o755)
        shutil.copytree(original, project, copy_function=os.link)  # outputs are replaced, never written into
        yield project


def served(
    name: str, command: str, project: Path, between: Proxy, store: Path, patience: bool
) -> tuple[Result, Result]:
    """Run a command while its server fails, and once more."""
    environment = {"WHALEID_TRACKING": "on", "MLFLOW_TRACKING_URI": between.address, **({} if patience else BRIEF)}
    fault, on, first, count = SERVED[name]
    between.set(fault, on, first, count)
    result = call(project, command, project.parent / "cache", **environment)
    between.set("none")
    return result, call(project, command, project.parent / "cache", **environment)


def filed(name: str, command: str, project: Path) -> tuple[Result, Result]:
    """Run a command while its SQLite file cannot be used, and once more."""
    environment = {"WHALEID_TRACKING": "on", "MLFLOW_TRACKING_URI": ""}
    with contextmanager(FILES[name])(project / "mlflow.db"):
        result = call(project, command, project.parent / "cache", drop_capabilities, **environment)
    return result, call(project, command, project.parent / "cache", **environment)


def main() -> None:
    """Run all, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*FILES, *SERVED]
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="FAULT")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--trained", type=Path, help="a project that conftest's build_trained built; else one is built")
    parser.add_argument("--patience", action="store_true", help="MLflow's own: a fault takes up to 20 minutes")
    arguments = parser.parse_args()
    import_all()
    found: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory(prefix="whaleid-trained-") as temporary:
        original = Path(temporary, "project")
        if arguments.trained:
            shutil.copytree(arguments.trained, original)
        else:
            from helpers.project import build_trained

            original.mkdir()
            build_trained(original)
        prepare_project(original)
        empty = Path(temporary, "empty.db")
        result = call(
            original, "split", original / "cache", WHALEID_TRACKING="on", MLFLOW_TRACKING_URI=f"sqlite:///{empty}"
        )
        assert result.code == 0, result.text
        _emptied(empty)

        def tell(
            fault: str, name: str, result: Result, again: Result, project: Path, before: dict[str, str], at: Path
        ) -> None:
            broken = judged(result, again, project, before, at, COMMANDS[name], fault)
            states = facts(at, COMMANDS[name], fault)[0]
            found[f"{fault}: {name}"] = {
                "code": result.code,
                "seconds": round(result.seconds, 1),
                "error": result.error,
                "runs": states,
                "broken": broken,
            }
            print(
                f"{fault:24} {name:9} {result.code} {result.seconds:6.1f} s  {states}  {result.error[:200]}", flush=True
            )
            for each in broken[:5]:
                print(f"    NOT AS PROMISED: {each}", flush=True)

        for fault in arguments.only:
            for name in arguments.commands:
                if fault in FILES:
                    with fresh(original) as project:
                        shutil.copy(empty, project / "mlflow.db")
                        before = contents(project)
                        result, again = filed(fault, COMMANDS[name], project)
                        at = project / "mlflow.db"
                        tell(fault, name, result, again, project, before, at)
        if any(fault in SERVED for fault in arguments.only):
            store = Path(temporary, "server.db")
            shutil.copy(empty, store)
            with mlflow_server(f"sqlite:///{store}") as upstream, proxy(upstream) as between:
                for fault in [each for each in arguments.only if each in SERVED]:
                    for name in arguments.commands:
                        _emptied(store)
                        with fresh(original) as project:
                            before = contents(project)
                            result, again = served(fault, COMMANDS[name], project, between, store, arguments.patience)
                            tell(fault, name, result, again, project, before, store)
    broken = sum(bool(row["broken"]) for row in found.values())
    print(json.dumps({"tried": len(found), "not as promised": broken, "rows": found}))
    sys.exit(1 if broken else 0)


def _emptied(store: Path) -> None:
    """Take all runs and models out of a store."""
    with closing(sqlite3.connect(store, timeout=30)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for [table] in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if str(table).startswith(OF_RUNS):
                connection.execute(f"DELETE FROM {table}")


if __name__ == "__main__":
    main()
