"""One function over many items: on all cores or on a Dask cluster. The result does not depend on where it runs."""

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import TypeVar

from whaleid.core.errors import WhaleidError
from whaleid.core.log import progress

T = TypeVar("T")
R = TypeVar("R")
DASK = "WHALEID_DASK"
"""The environment variable with the address of a Dask scheduler."""
SECONDS = 5
"""Timeout for the scheduler, and then for its first worker."""
BATCH = 16
"""Items that a thread or worker takes at a time by default: a small photo takes less than a millisecond."""
_FOLDER = threading.Lock()


def cores() -> int:
    """Return how many cores this process may use."""
    import joblib  # 0.1 s, which commands without work for several cores do without

    count: int = joblib.cpu_count()
    return count


def parallel_map(function: Callable[[T], R], items: Sequence[T], what: str, batch_size: int = BATCH) -> Iterator[R]:
    """Yield `function(item)` for each of `items`, in order, and show progress under the name `what`.

    Threads share the items, `batch_size` at a time: decoding runs in parallel, and processes take longer to start. If
    `WHALEID_DASK` is set, the workers of that cluster share them; then `function` and `items` must be picklable.

    Raises:
        WhaleidError: the cluster cannot be used.
    """
    batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    address = os.environ.get(DASK)
    results = _map_on_cluster(address, function, batches) if address else _map_on_threads(function, batches)
    yield from progress(results, what, len(items))


def _map_on_threads(function: Callable[[T], R], batches: Sequence[Sequence[T]]) -> Iterator[R]:
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    # of a caller that stops early, as at Ctrl-C
    warnings.filterwarnings("ignore", ".*You could benefit from adjusting the input task iterator", UserWarning)
    with threadpool_limits(1):  # there are as many threads as cores already
        parallel = Parallel(cores(), backend="threading", return_as="generator")
        for results in parallel(delayed(_apply)(function, batch) for batch in batches):
            yield from results


def _map_on_cluster(address: str, function: Callable[[T], R], batches: Sequence[Sequence[T]]) -> Iterator[R]:
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise WhaleidError(
            f"{DASK} is set, but Dask is not installed: pip install 'whaleid[dask]', or unset {DASK}."
        ) from None
    try:
        client = Client(address, timeout=SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise WhaleidError(
            f"{DASK}: no Dask scheduler answers at {address} ({type(error).__name__}). Start it with `dask scheduler`, "
            f"correct the address, or unset {DASK}."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS)
        except TimeoutError:
            remedy = f"Start some with `dask worker {address}`."
            raise WhaleidError(f"{DASK}: the scheduler at {address} has no workers. {remedy}") from None
        run = partial(_run_in_folder, Path.cwd(), function)
        for future in client.map(run, batches, pure=False):
            try:
                yield from future.result()
            except KilledWorker:
                raise WhaleidError(
                    f"{DASK}: workers were killed, most often because memory ran out. Give them more, or start fewer "
                    "on a host."
                ) from None
            except CancelledError:
                raise WhaleidError(
                    f"{DASK}: the scheduler at {address} was lost: run the same command again."
                ) from None
            future.release()  # type: ignore[no-untyped-call] # the cluster need not keep what has arrived


def _run_in_folder(folder: Path, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call `function` for each of `items` on a worker, in the working `folder` of the command."""
    os.environ.pop(DASK, None)  # what `function` maps itself stays on this worker
    with _FOLDER:  # a worker's threads share its working folder
        try:
            os.chdir(folder)
        except OSError as error:
            raise WhaleidError(
                f"{DASK}: a worker cannot open {folder} ({error.strerror}): workers need the same file system."
            ) from None
        return _apply(function, items)


def _apply(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]
