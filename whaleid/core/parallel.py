"""Apply a function to many items on all CPU cores or on a Dask cluster, with the same results."""

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
TIMEOUT = 5
"""Seconds to wait for the scheduler, and then for its first worker."""
BATCH = 16
"""Default number of items that a thread or worker processes at a time: a small photo takes less than a millisecond."""
_FOLDER_LOCK = threading.Lock()


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    import joblib  # imported here because it takes 0.1 s, and not all commands run in parallel

    count: int = joblib.cpu_count()
    return count


def parallel_map(
    function: Callable[[T], R], items: Sequence[T], description: str, batch_size: int = BATCH
) -> Iterator[R]:
    """Yield `function(item)` for each of `items`, in order, with a progress bar named `description`.

    Batches of `batch_size` items run in threads: image decoding releases the GIL, and processes start more slowly. If
    `WHALEID_DASK` is set, they run on the workers of that cluster; then `function` and `items` must be picklable.

    Raises:
        WhaleidError: the cluster cannot be used.
    """
    batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    address = os.environ.get(DASK)
    results = _map_on_cluster(address, function, batches) if address else _map_on_threads(function, batches)
    yield from progress(results, description, len(items))


def _map_on_threads(function: Callable[[T], R], batches: Sequence[Sequence[T]]) -> Iterator[R]:
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    # joblib warns if the caller stops early, as at Ctrl-C
    warnings.filterwarnings("ignore", ".*You could benefit from adjusting the input task iterator", UserWarning)
    with threadpool_limits(1):  # there is already one thread per core
        parallel = Parallel(cores(), backend="threading", return_as="generator")
        for results in parallel(delayed(_apply)(function, batch) for batch in batches):
            yield from results


def _map_on_cluster(address: str, function: Callable[[T], R], batches: Sequence[Sequence[T]]) -> Iterator[R]:
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise WhaleidError(
            f"{DASK} is set, but Dask is not installed. Run `pip install 'whaleid[dask]'`, or unset {DASK}."
        ) from None
    try:
        client = Client(address, timeout=TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise WhaleidError(
            f"{DASK}: no Dask scheduler answers at {address} ({type(error).__name__}). Start it with `dask scheduler`, "
            f"correct the address, or unset {DASK}."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError:
            remedy = f"Start workers with `dask worker {address}`."
            raise WhaleidError(f"{DASK}: the scheduler at {address} has no workers. {remedy}") from None
        run = partial(_run_in_folder, Path.cwd(), function)
        for future in client.map(run, batches, pure=False):
            try:
                yield from future.result()
            except KilledWorker:
                raise WhaleidError(
                    f"{DASK}: workers were killed, most often because memory ran out. Give them more memory, or start "
                    "fewer workers per host."
                ) from None
            except CancelledError:
                raise WhaleidError(
                    f"{DASK}: the connection to the scheduler at {address} was lost. Run the same command again."
                ) from None
            future.release()  # type: ignore[no-untyped-call] # let the cluster free the results


def _run_in_folder(folder: Path, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Apply `function` to each of `items` on a worker, in the working directory `folder` of the command."""
    os.environ.pop(DASK, None)  # nested calls of `parallel_map` must run on this worker
    with _FOLDER_LOCK:  # the threads of a worker share its working directory
        try:
            os.chdir(folder)
        except OSError as error:
            raise WhaleidError(
                f"{DASK}: a worker cannot open {folder} ({error.strerror}). Start workers that share this file system."
            ) from None
        return _apply(function, items)


def _apply(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]
