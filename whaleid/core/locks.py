"""Locks that processes share by a file, also where the file system has none."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from whaleid.core.log import logger

NOT_SUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of file systems without locks, such as some network file systems."""


@contextmanager
def locked(file: Path, seconds: float = -1) -> Iterator[None]:
    """Hold the lock of `file`, which is created; without `seconds`, wait for it as long as it takes.

    Where the file system has no locks, warn and go on.

    Raises:
        filelock.Timeout: another process still holds the lock after `seconds`.
    """
    lock = FileLock(file, timeout=seconds)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
        logger.warning(f"{file}: this file system has no locks ({error.strerror}). Run one command at a time.")
    try:
        yield
    finally:
        lock.release()
