"""One function over many items, on all cores; the result does not depend on their number."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from whaleid.core.log import progress

T = TypeVar("T")
R = TypeVar("R")
BATCH = 16
"""Items that a thread takes at a time: small photos take less than a millisecond."""


def cores() -> int:
    """Return how many cores this process may use."""
    import joblib  # 0.1 s, which commands without work for several cores do without

    count: int = joblib.cpu_count()
    return count


def parallel_map(function: Callable[[T], R], items: Sequence[T], what: str) -> Iterator[R]:
    """Yield `function(item)` for each of `items`, in order, and show progress under the name `what`.

    Items are shared between threads: Pillow and numpy, which do most of the work, run in parallel, and threads start at
    once. Processes took longer for less than some thousand photos and no less time for more.
    """
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # there are as many threads as cores already
        parallel = Parallel(cores(), backend="threading", batch_size=BATCH, return_as="generator")
        yield from progress(parallel(delayed(function)(item) for item in items), what, len(items))
