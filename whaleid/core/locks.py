"""File locks shared by processes. They have no effect on file systems without locks."""

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from whaleid.core.log import logger

NOT_SUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
"""Error numbers of file systems without locks, such as some network file systems."""


@lru_cache
def _warn_once(text: str) -> None:
    logger.warning(text)


@contextmanager
def locked(file: Path, seconds: float = -1) -> Iterator[None]:
    """Hold the lock of `file`, which is created if necessary.

    Wait for at most `seconds`; if they are negative, without a limit. On a file system without locks, log a warning and
    run the block without a lock.

    Raises:
        filelock.Timeout: another process still holds the lock after `seconds`.
    """
    lock = FileLock(file, timeout=seconds)
    try:
        with warnings.catch_warnings(action="ignore"):  # for ENOSYS, filelock itself falls back to another lock
            lock.acquire()
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise
        _warn_once(f"{file}: this file system has no locks ({error.strerror}). Run one command at a time.")
    try:
        yield
    finally:
        lock.release()
