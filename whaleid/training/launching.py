"""Starting one process a GPU, as `torchrun` on a single host would, where nobody else did."""

import os
import signal
import sys
import uuid
from collections.abc import Sequence

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from whaleid.core import ranks
from whaleid.core.errors import WhaleidError
from whaleid.core.parallel import cores

EACH = 32
"""Photos of a batch that a GPU should have: with fewer, it takes no less time for them."""


def processes(batch: int | None) -> int:
    """Return how many processes should share the work, of which this one is not to be one; 1: it does it itself.

    `WHALEID_PROCESSES` tells, else the GPUs in sight: all, or as many as there are thirty-twos in a `batch`; where that
    leaves some unused, a line says so. A process that torchrun started, or that `WHALEID_DEVICE` binds to one device,
    is on its own.

    Raises:
        WhaleidError: WHALEID_PROCESSES is no number from 1.
    """
    if ranks.launched():
        return 1
    if asked := os.environ.get("WHALEID_PROCESSES"):
        if not asked.isdecimal() or int(asked) < 1:
            raise WhaleidError(f"WHALEID_PROCESSES is {asked!r}: set it to a number from 1, or leave it unset.")
        return int(asked)
    if os.environ.get("WHALEID_DEVICE"):
        return 1
    gpus = torch.cuda.device_count()
    taken = max(1, gpus if batch is None else min(gpus, batch // EACH))
    if taken < gpus:
        print(
            f"{taken} of {gpus} GPUs: a batch of {batch} takes no less time on more. "
            "Raise batch_size and lr to use them."
        )
    return taken


def launch(count: int, arguments: Sequence[str]) -> None:
    """Run `python -m whaleid` with `arguments` in `count` processes that know each other, and wait for all.

    Raises:
        WhaleidError: one of them failed; the others were stopped.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    config = LaunchConfig(
        1,
        1,
        count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",  # a host may not know its own name
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "whaleid", *arguments)
    except SignalException as stop:
        if stop.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + stop.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = failure.signal_name() if failure.exitcode < 0 else f"exit code {failure.exitcode}, its error is above"
        raise WhaleidError(
            f"process {rank} of {count} ended ({how}) and all were stopped. Run the same command again; a "
            "training goes on after its last whole epoch."
        ) from None
