"""One function over many items: on all cores or on a Dask cluster. The result does not depend on where it runs."""

import os
import threading
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
"""To wait for the scheduler, and then for its first worker."""
BATCH = 16
"""Items that a thread or worker takes at a time by default: small photos take less than a millisecond."""
FEW = 100
"""Items for which starting processes takes longer than the work."""
_FOLDER = threading.Lock()


def cores() -> int:
    """Return how many cores this process may use."""
    import joblib  # 0.1 s, which commands without work for several cores do without

    count: int = joblib.cpu_count()
    return count


def parallel_map(
    function: Callable[[T], R], items: Sequence[T], what: str, batch_size: int = BATCH, processes: bool = False
) -> Iterator[R]:
    """Yield `function(item)` for each of `items`, in order, and show progress under the name `what`.

    Threads share the items, `batch_size` at a time: decoding runs in parallel and threads start at once. Processes took
    longer for some thousand photos; with `processes`, they share more than `FEW` items, for Python's own work.
    Where `WHALEID_DASK` is set, the workers of that cluster share them. For processes and workers, `function` and
    `items` must be ones that pickle takes.

    Raises:
        WhaleidError: a process was killed, or the cluster cannot be used.
    """
    if address := os.environ.get(DASK):
        results = _map_on_cluster(address, function, items, batch_size)
    elif processes and len(items) > FEW:
        results = _map_on_processes(function, items)
    else:
        results = _map_on_threads(function, items, batch_size)
    yield from progress(results, what, len(items))


def _map_on_processes(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with parallel_config("loky", inner_max_num_threads=1):  # there are as many processes as cores already
        parallel = Parallel(cores(), return_as="generator")
    try:
        yield from parallel(delayed(function)(item) for item in items)
    except TerminatedWorkerError:
        raise WhaleidError(
            "A worker process was killed, most often because memory ran out. Give the machine more, or fewer cores to "
            "this command (taskset -c 0 …)."
        ) from None


def _map_on_threads(function: Callable[[T], R], items: Sequence[T], batch_size: int) -> Iterator[R]:
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # there are as many threads as cores already
        parallel = Parallel(cores(), backend="threading", batch_size=batch_size, return_as="generator")
        yield from parallel(delayed(function)(item) for item in items)


def _map_on_cluster(address: str, function: Callable[[T], R], items: Sequence[T], batch_size: int) -> Iterator[R]:
    """Map on the Dask cluster of the scheduler `address`, not by way of joblib 1.6, which waits for killed workers."""
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
        batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
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
        return [function(item) for item in items]
