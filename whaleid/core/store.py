"""The MLflow store: whether it is used, its address, a lock, and errors with a remedy."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock

from whaleid.core import ranks
from whaleid.core.errors import WhaleidError

REMEDY = "Fix that, name another store in MLFLOW_TRACKING_URI, or run without: WHALEID_TRACKING=off."
LOCK_SECONDS = 120
"""How long a process waits while another one holds the lock; making a new store takes seconds."""


def enabled() -> bool:
    """Return whether this process tracks: the first of several does, unless WHALEID_TRACKING is `off`.

    Raises:
        WhaleidError: WHALEID_TRACKING is neither `on` nor `off`.
    """
    value = os.environ.get("WHALEID_TRACKING", "on")
    if value not in ("on", "off"):
        raise WhaleidError(f"WHALEID_TRACKING is {value!r}: set it to on or off, or leave it unset.")
    return value == "on" and ranks.is_main_process()


def address() -> tuple[str, Path | None]:
    """Return the URI of the store, MLFLOW_TRACKING_URI or else `mlflow.db`, and its file if it is an SQLite file.

    A relative path starts at DVC's root: the working directory of a queued experiment is deleted after it.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if not uri.startswith("sqlite:///"):
        return uri, None
    database = Path(os.environ.get("DVC_ROOT") or Path.cwd()) / uri.removeprefix("sqlite:///")
    return f"sqlite:///{database}", database


def lock(database: Path | None) -> FileLock | nullcontext[None]:
    """Return a lock that other processes with the same SQLite file respect; a server needs none."""
    if database is None:
        return nullcontext()
    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(database.with_name(f"{database.name}.lock"), timeout=LOCK_SECONDS)


@contextmanager
def translate_errors(uri: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn `errors`, those of MLflow, and those of the database, network or disk into one that names a remedy.

    Raises:
        WhaleidError: the block raised one of them.
    """
    from sqlalchemy.exc import SQLAlchemyError

    caught: tuple[type[Exception], ...] = (*errors, SQLAlchemyError, sqlite3.Error, OSError)
    try:
        yield
    except caught as error:
        lines = [line for line in str(error).splitlines() if "autoflush" not in line]
        first = next(iter(lines), type(error).__name__)  # the other lines are SQL
        text = f"Tracking failed at {uri}: {first}\n{REMEDY}"
        raise WhaleidError(re.sub(r"://[^/@\s]+@", "://", text)) from error  # no password in a log


@contextmanager
def brief_retries() -> Iterator[None]:
    """Give up a server that does not answer within seconds; MLflow's default of minutes suits long trainings."""
    brief = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}
    added = {key: value for key, value in brief.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]
