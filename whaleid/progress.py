"""Progress of long loops: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from whaleid import loudness, ranks

T = TypeVar("T")
SECONDS = 10.0
"""Between two plain lines."""


def progress(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield `items`, showing on standard error how many of `total` are done; of several processes, the first does.

    Nothing is shown where it is to be quiet; those who want details are told how long it took.
    """
    with loudness.timed(f"{what}: {total:,}"):
        if loudness.quiet() or not ranks.first():
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
