"""Fixtures shared by test files, the distribution of tests over workers, and the record of the result."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import record
from helpers.project import ROOT, build_once, make_reproduced, make_trained, write_params
from xdist.scheduler import LoadScopeScheduling

from whaleid.config import Params, load
from whaleid.core import startup

if "PYTEST_XDIST_WORKER" in os.environ:  # one worker per core: more threads would compete for cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# as in the command line, before torch is loaded: otherwise, tests take ten times as long on a busy machine
startup.prepare()

START = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write the result to docs/reliability.md")


SAME_WORKER = {
    f"tests/{name}.py"
    for name in (
        "core/test_dask",
        "faults/test_store",
        "project/test_audit",
        "project/test_browser",
        "project/test_package",
        "project/test_team",
        "report/test_slider",
    )
}
"""Files whose tests share a fixture that takes seconds to start: one worker runs all tests of the file."""


class Scheduling(LoadScopeScheduling):
    """Distribute single tests, except the files in SAME_WORKER, which are distributed as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in SAME_WORKER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Use all cores for the whole suite, and this process if files are named."""
    return None if config.args_source is config.ArgsSource.TESTPATHS else 0


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark long tests as slow; sort the tests if several workers share them."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")
    if hasattr(config, "workerinput"):
        items.sort(key=priority)
        builder = next((item for item in items if needs_reproduced(item) and not shares_worker(item)), None)
        if builder:
            items.insert(0, items.pop(items.index(builder)))


def priority(item: pytest.Item) -> int:
    """Return the sort key of a test: slow tests run first, so that no worker ends with one.

    Slow tests that need `reproduced` come second: one worker builds it, which takes a minute, while the others run
    the rest.
    """
    if not item.get_closest_marker("slow"):
        return 2
    return int(needs_reproduced(item))


def needs_reproduced(item: pytest.Item) -> bool:
    return "reproduced" in getattr(item, "fixturenames", ())


def shares_worker(item: pytest.Item) -> bool:
    return item.nodeid.partition("::")[0] in SAME_WORKER


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Record the result of the run if `--record` is set."""
    if config.getoption("record"):
        counts = {name: len(terminalreporter.getreports(name)) for name in ("passed", "failed", "error", "skipped")}
        counts["failed"] += counts["error"]
        record.write(counts, time.monotonic() - START)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Params]:
    """Change to an empty project folder, and return a function that writes its `params.yaml` with changes."""
    monkeypatch.chdir(tmp_path)

    def write(**changes: object) -> Params:
        write_params(Path(), changes)
        return load(Path("params.yaml"))

    return write


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a separate cache folder for each test and for the processes that it starts."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project where all stages that `final` needs have run, on few photos, all of which have a box.

    It is shared: tests must not change it.
    """
    return build_once(tmp_path_factory, "trained", make_trained)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository where `dvc repro` has run the default pipeline and an ensemble, with all files committed.

    It is shared: tests must not change it. Run commands in a copy made by `copy_repository`.
    """
    return build_once(tmp_path_factory, "reproduced", make_reproduced)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real photos; skip the test if there is none."""
    folder = Path(os.environ.get("WHALEID_REAL_DATA", ROOT.parent / "shared/data/playground100"))
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}: set WHALEID_REAL_DATA")
    return folder.resolve()
