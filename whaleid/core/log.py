"""What a command prints besides its result: summaries of what it did, details, and the progress of long loops.

Code logs summaries at INFO and details at DEBUG to `logger`. Summaries go to standard output, all else to standard
error. `--quiet` sets the level WARNING, `--verbose` DEBUG.
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


class Printer(logging.Handler):
    """Prints what is logged; of several processes, only the first prints summaries and details."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        if ranks.is_main_process() or record.levelno > logging.INFO:
            stream = sys.stdout if record.levelno == logging.INFO else sys.stderr
            print(self.format(record), file=stream, flush=True)


logger = logging.getLogger("whaleid")
logger.setLevel(logging.INFO)
logger.addHandler(Printer())
logger.propagate = False  # a program that uses whaleid may print its own log


def options() -> list[str]:
    """Return the command line's options that give another process the same level."""
    return [option for level, option in OPTIONS.items() if logger.level == level]


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Log as a detail how long the block took; a block that fails is not logged."""
    start = time.perf_counter()
    yield
    logger.debug(f"{what}: {time.perf_counter() - start:.2f} s")


def progress(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield `items`, with a bar on a terminal that shows how many of `total` are done.

    Of several processes, only the first shows it. How long the loop took is logged as a detail.
    """
    from tqdm import tqdm  # a tenth of the start of a command

    wanted = logger.isEnabledFor(logging.INFO) and ranks.is_main_process()
    disable = None if wanted else True  # None: unless standard error is a terminal
    with timed(f"{what}: {total:,}"):
        yield from tqdm(items, desc=what, total=total, leave=False, dynamic_ncols=True, disable=disable)
