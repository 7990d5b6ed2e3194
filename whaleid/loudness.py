"""How much is said, and where.

Answers and summaries go to standard output; progress, warnings, details and errors to standard error. The environment
holds what `whaleid --quiet` and `--verbose` ask for, so that processes that are started are as quiet.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from whaleid import ranks

QUIET = "WHALEID_QUIET"
VERBOSE = "WHALEID_VERBOSE"


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
