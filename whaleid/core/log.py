"""What a command prints in addition to its answer: summaries of what it did, details, and the progress of long loops.

Summaries go to standard output, all else to standard error. The level of the logger `whaleid` decides what is printed:
WARNING (`--quiet`), INFO, or DEBUG (`--verbose`).
"""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TypeVar

from whaleid.core import ranks

T = TypeVar("T")
OPTIONS = {logging.WARNING: "--quiet", logging.DEBUG: "--verbose"}
logger = logging.getLogger("whaleid")
logger.setLevel(logging.INFO)


def configure(quiet: bool, verbose: bool) -> None:
    """Set the level of the logger `whaleid` from the command line's options."""
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def options() -> list[str]:
    """Return the command line's options that give another process the same level."""
    return [option for level, option in OPTIONS.items() if logger.level == level]


def quiet() -> bool:
    """Return whether answers, warnings and errors are all to be printed."""
    return not logger.isEnabledFor(logging.INFO)


def detail(text: str) -> None:
    """Log `text` for those who want details; of several processes, only the first does."""
    if ranks.first():
        logger.debug(text)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Log as a detail how long the block took; a block that fails is not logged."""
    start = time.perf_counter()
    yield
    detail(f"{what}: {time.perf_counter() - start:.2f} s")


@contextmanager
def summaries() -> Iterator[None]:
    """Discard what the block prints to standard output if the command is to be quiet."""
    if not quiet():
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


def progress(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield `items`, with a bar on a terminal that shows how many of `total` are done.

    Of several processes, only the first shows it. How long the loop took is logged as a detail.
    """
    from tqdm import tqdm  # a tenth of the start of a command

    disable = True if quiet() or not ranks.first() else None  # None: unless standard error is a terminal
    with timed(f"{what}: {total:,}"):
        yield from tqdm(items, desc=what, total=total, leave=False, dynamic_ncols=True, disable=disable)
