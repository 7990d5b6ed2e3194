"""Fixtures that several test files need, how tests are shared among workers, and where their result is recorded."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import record
from helpers.project import ROOT, build_once, build_reproduced, build_trained, write_params
from xdist.scheduler import LoadScopeScheduling

from whaleid.config import Params, load
from whaleid.core import startup

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: more threads would stand in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# as the command line does, before torch is loaded: else tests beside other work take ten times as long
startup.prepare()


BEGUN = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write the result into docs/reliability.md")


TOGETHER = {
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
"""Files whose tests share what takes seconds to start: one worker runs them all."""


class Scheduling(LoadScopeScheduling):
    """Hands out test by test, but the files that stay together as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in TOGETHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run all tests on all cores, but those of files that are named in this process."""
    return None if config.args_source is config.ArgsSource.TESTPATHS else 0


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let what is long count as slow; order the tests where several workers share them."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")
    if hasattr(config, "workerinput"):
        items.sort(key=turn)
        builder = next((item for item in items if needs_reproduced(item) and not grouped(item)), None)
        if builder:
            items.insert(0, items.pop(items.index(builder)))


def turn(item: pytest.Item) -> int:
    """Return when a test runs: slow ones first, so that none is left for the end.

    One worker begins with the reproduced project, which takes a minute; until then, the others need something to do.
    """
    if not item.get_closest_marker("slow"):
        return 2
    return int(needs_reproduced(item))


def needs_reproduced(item: pytest.Item) -> bool:
    return "reproduced" in getattr(item, "fixturenames", ())


def grouped(item: pytest.Item) -> bool:
    return item.nodeid.partition("::")[0] in TOGETHER


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Record the result of a run where that is wished."""
    if config.getoption("record"):
        counts = {name: len(terminalreporter.getreports(name)) for name in ("passed", "failed", "error", "skipped")}
        counts["failed"] += counts["error"]
        record.write(counts, time.monotonic() - BEGUN)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Params]:
    """Make an empty project folder, go there, and return a function that writes its `params.yaml` with changes."""
    monkeypatch.chdir(tmp_path)

    def write(**changes: object) -> Params:
        write_params(Path(), changes)
        return load(Path("params.yaml"))

    return write


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep caches in a folder of the test's own, those of processes that it starts as well."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project where all has run that `final` needs, on a sliver of which every photo has a box.

    It is shared: tests leave it as it is.
    """
    return build_once(tmp_path_factory, "trained", build_trained)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository where `dvc repro` has run the default pipeline and an ensemble, and all is committed.

    It is shared: tests leave it as it is, and run commands in a copy by `copy_repository`.
    """
    return build_once(tmp_path_factory, "reproduced", build_reproduced)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real photos, or skip."""
    folder = Path(os.environ.get("WHALEID_REAL_DATA", ROOT.parent / "shared/data/playground100"))
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}: set WHALEID_REAL_DATA")
    return folder.resolve()
