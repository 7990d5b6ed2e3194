"""One function over many items on all cores; the result doesn't depend on how many there are."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import forkserver
from typing import TypeVar

from threadpoolctl import threadpool_limits

from whaleid.core.errors import WhaleidError
from whaleid.core.log import progress

T = TypeVar("T")
R = TypeVar("R")
FEW = 500
"""Up to so many items, starting processes takes longer than the work."""


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_map(function: Callable[[T], R], items: Sequence[T], what: str) -> Iterator[R]:
    """Yield `function(item)` of each of `items`, in their order, showing progress under the name `what`.

    `function` must be one that pickle can name: of a module, not of a function.

    Raises:
        WhaleidError: a worker was killed.
    """
    if cores() == 1 or len(items) <= FEW:
        yield from progress(map(function, items), what, len(items))
        return
    # Not forked: a fork of a process that has threads (a tracker's, say) may hang. Where the system has it, a process
    # without threads imports the function's module once, and all workers are forked from that.
    server = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if server else "spawn")
    if server:
        multiprocessing.set_forkserver_preload(["__main__", _module(function)])
        _start_server()
    chunk = max(1, min(64, len(items) // (4 * cores())))
    try:
        # as many processes as cores: no library need start threads in them
        with ProcessPoolExecutor(cores(), context, threadpool_limits, (1,)) as pool:
            with _undisturbed():
                found = pool.map(function, items, chunksize=chunk)
            yield from progress(found, what, len(items))
    except BrokenProcessPool:
        raise WhaleidError(
            f"{what}: a worker process was killed, most often because memory ran out. Give the machine more, or fewer "
            f"cores to this command (taskset -c 0 …)."
        ) from None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and its like wait until the block is over: workers that are half started would be left behind."""
    if threading.current_thread() is not threading.main_thread():  # which alone is disturbed
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _start_server() -> None:
    """Start the process that workers are forked from; they are deaf to Ctrl-C, by which this one stops them."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def _module(function: Callable[..., object]) -> str:
    return function.func.__module__ if isinstance(function, partial) else function.__module__
