"""What a command prints while it runs: how much, and where; progress of long loops.

Answers and summaries go to standard output; progress, warnings, details and errors to standard error. The environment
holds what `whaleid --quiet` and `--verbose` ask for, so that processes that are started are as quiet.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from whaleid.core import ranks

QUIET = "WHALEID_QUIET"
VERBOSE = "WHALEID_VERBOSE"
T = TypeVar("T")
SECONDS = 10.0
"""Between two plain lines of progress."""


def quiet() -> bool:
    """Tell whether answers, warnings and errors are all that is to be said."""
    return os.environ.get(QUIET) == "on"


def verbose() -> bool:
    """Tell whether details are to be said as well."""
    return os.environ.get(VERBOSE) == "on"


def detail(text: str) -> None:
    """Say `text` to those who want details; of several processes, the first does."""
    if verbose() and ranks.first():
        print(text, file=sys.stderr, flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say, as a detail, how long the block took; one that fails says nothing."""
    begun = time.perf_counter()
    yield
    detail(f"{what}: {time.perf_counter() - begun:.2f} s")


@contextmanager
def summaries() -> Iterator[None]:
    """Take what the block prints for summaries of what it did: unsaid where it is to be quiet."""
    if not quiet():
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


def progress(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield `items`, showing on standard error how many of `total` are done; of several processes, the first does.

    Nothing is shown where it is to be quiet; those who want details are told how long it took.
    """
    with timed(f"{what}: {total:,}"):
        if quiet() or not ranks.first():
            yield from items
        elif sys.stderr.isatty():
            yield from tqdm(items, desc=what, total=total, leave=False, dynamic_ncols=True)
        else:
            yield from _plainly(items, what, total)


def _plainly(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if done < total and time.monotonic() - said >= SECONDS:
            said = time.monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)
