"""The fingerprints of files from earlier runs, in the user's cache folder: only what changed is read again."""

import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import PIL
import platformdirs

from whaleid.images.fingerprint import VERSION, Fingerprint

SETTLED = 2.0
"""Seconds for which a file must have been left alone: a change within a tick of the clock would not be seen."""
WAIT = 60.0
"""Seconds for another process to finish writing."""
NAMES = ", ".join(Fingerprint._fields)
SCHEMA = f"""
create table if not exists photo
    (path primary key, length, modified, {NAMES}) without rowid
"""


class Seen(NamedTuple):
    """A file as it lay there before it was read."""

    path: str  # absolute
    length: int  # bytes
    modified: int  # nanoseconds since 1970


def seen(path: Path) -> Seen:
    """Look at the file `path`.

    Raises:
        OSError: it cannot be looked at.
    """
    at = path.stat()
    return Seen(os.path.abspath(path), at.st_size, at.st_mtime_ns)  # noqa: PTH100 - ten times as fast


def location() -> Path:
    """Return where fingerprints are kept, apart by what makes them: another Pillow may decode to other pixels."""
    return Path(platformdirs.user_cache_dir("whaleid")) / f"fingerprints-{VERSION}-pillow-{PIL.__version__}.sqlite"


class Cache:
    """A store of fingerprints."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def unchanged(self, file: Seen) -> Fingerprint | None:
        """Return the fingerprint of a file that has the path, size and time of change with which it was read."""
        wanted = f"select {NAMES} from photo where path = ? and length = ? and modified = ?"
        try:
            row = self._connection.execute(wanted, file).fetchone()
        except sqlite3.Error as error:
            self._connection.close()
            self._connection = _nothing(error)
            return None
        return None if row is None else Fingerprint(*row)

    def keep(self, found: Iterable[tuple[Seen, Fingerprint]]) -> None:
        """Keep what files turned out to be, all of them or, where that fails, none: they are read again then."""
        settled = time.time_ns() - SETTLED * 1e9
        rows = [(*file, *each) for file, each in found if file.modified < settled]
        marks = ", ".join("?" * len(Seen._fields + Fingerprint._fields))
        try:
            with self._connection:
                self._connection.executemany(f"replace into photo values ({marks})", rows)
        except sqlite3.Error as error:
            print(f"{location()}: what photos are could not be kept ({error}).", file=sys.stderr)

    def close(self) -> None:
        """Let go of the store."""
        self._connection.close()


@contextmanager
def opened() -> Iterator[Cache]:
    """Yield the store; where the user's cache folder cannot be used, say so and yield an empty one."""
    try:
        location().parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(location(), timeout=WAIT)
        connection.execute(SCHEMA)
    except (OSError, sqlite3.Error) as error:
        connection = _nothing(error)
    with closing(Cache(connection)) as kept:
        yield kept


def _nothing(error: Exception) -> sqlite3.Connection:
    """Return an empty store, in memory, and say why."""
    print(f"{location()} cannot be used ({error}): photos are read anew.", file=sys.stderr)
    connection = sqlite3.connect(":memory:")
    connection.execute(SCHEMA)
    return connection
