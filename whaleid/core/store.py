"""The MLflow store: whether tracking is on, the URI of the store, its lock, and its errors."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from whaleid.core import ranks
from whaleid.core.errors import WhaleidError
from whaleid.core.locks import locked

REMEDY = (
    "Fix this problem, set MLFLOW_TRACKING_URI to another store, or set WHALEID_TRACKING=off to run without tracking."
)
LOCK_SECONDS = 120
"""Seconds to wait for the lock. The process that creates a new store holds it for several seconds."""


def enabled() -> bool:
    """Return whether this process tracks: it is the main process, and WHALEID_TRACKING is not `off`.

    Raises:
        WhaleidError: WHALEID_TRACKING is neither `on` nor `off`.
    """
    value = os.environ.get("WHALEID_TRACKING", "on")
    if value not in ("on", "off"):
        raise WhaleidError(f"WHALEID_TRACKING is {value!r}. Set it to on or off, or unset it.")
    return value == "on" and ranks.is_main_process()


def address() -> tuple[str, Path | None]:
    """Return the URI of the store, and its file if it is an SQLite database.

    The URI is MLFLOW_TRACKING_URI or, if that is unset, the file `mlflow.db`. A relative path starts at DVC's root,
    because DVC deletes the working directory of a queued experiment when it ends.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if not uri.startswith("sqlite:///"):
        return uri, None
    database = Path(os.environ.get("DVC_ROOT") or Path.cwd()) / uri.removeprefix("sqlite:///")
    return sqlite_uri(database), database


def sqlite_uri(database: Path) -> str:
    """Return the URI of an SQLite file. In URIs, `?` ends a path, so that one with it has to be relative."""
    return f"sqlite:///{os.path.relpath(database) if '?' in str(database) else database}"


def lock(database: Path | None) -> AbstractContextManager[None]:
    """Return a lock that processes with the same SQLite file share. A tracking server needs no lock."""
    if database is None:
        return nullcontext()
    database.parent.mkdir(parents=True, exist_ok=True)
    return locked(database.with_name(f"{database.name}.lock"), LOCK_SECONDS)


@contextmanager
def translate_errors(uri: str, *errors: type[Exception]) -> Iterator[None]:
    """Translate `errors` and those of the database, the network and the disk into a WhaleidError with a remedy.

    Args:
        uri: address of the store, for the message.
        errors: the error types of MLflow.

    Raises:
        WhaleidError: the block raised one of these errors.
    """
    from sqlalchemy.exc import SQLAlchemyError

    caught: tuple[type[Exception], ...] = (*errors, SQLAlchemyError, sqlite3.Error, OSError)
    try:
        yield
    except caught as error:
        lines = [line for line in str(error).splitlines() if "autoflush" not in line]
        first = next(iter(lines), type(error).__name__)  # skip the lines of SQL that follow
        text = f"Tracking failed at {uri}: {first}\n{REMEDY}"
        raise WhaleidError(re.sub(r"://[^/@\s]+@", "://", text)) from error  # do not log a password


@contextmanager
def brief_retries() -> Iterator[None]:
    """Make requests to an unresponsive server fail within seconds. MLflow's default, minutes, suits long training."""
    brief = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "4"}
    added = {key: value for key, value in brief.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]
