"""Logging to the terminal: summaries, details, warnings and progress bars.

Code logs summaries at INFO and details at DEBUG to `logger`. Summaries go to standard output, all other messages to
standard error. `--quiet` sets the level to WARNING, `--verbose` to DEBUG.
"""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from whaleid.core import ranks

T = TypeVar("T")
OPTIONS = {logging.WARNING: "--quiet", logging.DEBUG: "--verbose"}
"""The command-line option that sets each log level."""


class Printer(logging.Handler):
    """A handler that prints log records to the terminal. Only the main process prints summaries and details."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        if ranks.is_main_process() or record.levelno > logging.INFO:
            stream = sys.stdout if record.levelno == logging.INFO else sys.stderr
            print(self.format(record), file=stream, flush=True)


logger = logging.getLogger("whaleid")
logger.setLevel(logging.INFO)
logger.addHandler(Printer())
logger.propagate = False  # a program that imports whaleid may configure the root logger


def options() -> list[str]:
    """Return the command-line options that set the current log level in another process."""
    return [option for log_level, option in OPTIONS.items() if logger.level == log_level]


@contextmanager
def timed(description: str) -> Iterator[None]:
    """Log the duration of the block as a detail, if the block succeeds."""
    start = time.perf_counter()
    yield
    logger.debug(f"{description}: {time.perf_counter() - start:.2f} s")


def progress(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield `items`, and show a progress bar if standard error is a terminal.

    Only the main process shows it. The duration of the loop is logged as a detail.
    """
    from tqdm import tqdm  # imported here because it takes a tenth of a command's startup time

    enabled = logger.isEnabledFor(logging.INFO) and ranks.is_main_process()
    disable = None if enabled else True  # None: tqdm shows the bar only on a terminal
    with timed(f"{description}: {total:,}"):
        yield from tqdm(items, desc=description, total=total, leave=False, dynamic_ncols=True, disable=disable)
