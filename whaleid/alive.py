"""Who is still at work: each holds the lock of a file, which the system lets go of when its process ends.

Better than process ids: those are used again, and mean nothing to another host or container that shares the folder.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock


class Sign:
    """A sign in a folder that this process is at work on something: `kind` tells signs of one thing from others'."""

    def __init__(self, folder: Path, kind: str) -> None:
        """Put the sign up: it stands until it is taken down, or left behind by a process that ended otherwise."""
        folder.mkdir(parents=True, exist_ok=True)
        self.token = uuid.uuid4().hex
        self._path = folder / f"{kind}.{self.token}"
        self._lock = FileLock(self._path)
        self._lock.acquire()

    def renew(self) -> None:
        """Let the time of the sign say that this process was still at work now."""
        self._path.touch()

    def take_down(self) -> None:
        """Remove the sign: all is in order."""
        self._path.unlink(missing_ok=True)
        self._lock.release()


def left_behind(folder: Path, kind: str) -> Iterator[tuple[str, int]]:
    """Yield the token of each sign whose process is gone, and when it was last renewed (milliseconds since 1970).

    Each is removed once the caller asks for the next one; a caller that fails leaves it for another time.
    """
    for path in sorted(folder.glob(f"{kind}.*")):
        lock = FileLock(path)
        try:
            renewed = path.stat().st_mtime_ns // 1_000_000
            lock.acquire(timeout=0)
        except OSError:  # it is held, was taken down just now, or is another user's
            continue
        try:
            yield path.suffix[1:], renewed
            path.unlink(missing_ok=True)
        finally:
            lock.release()
