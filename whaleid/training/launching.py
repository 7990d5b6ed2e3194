"""Start a process on each GPU, as `torchrun` does on one host."""

import os
import signal
import sys
from collections.abc import Sequence

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from whaleid.core import ranks
from whaleid.core.errors import WhaleidError
from whaleid.core.log import logger
from whaleid.core.parallel import cores

PHOTOS_PER_GPU = 32
"""Photos of a batch that a GPU should have: with fewer, it takes no less time for them."""


def processes(batch_size: int | None) -> int:
    """Return how many processes to start for a stage; 1: none, this process does the work.

    One on each GPU, or fewer where a batch gives each less than `PHOTOS_PER_GPU`. A process that torchrun started, or
    whose `WHALEID_DEVICE` is set, does its own work.
    """
    if ranks.launched_by_torchrun() or os.environ.get("WHALEID_DEVICE"):
        return 1
    gpus = torch.cuda.device_count()
    count = max(1, gpus if batch_size is None else min(gpus, batch_size // PHOTOS_PER_GPU))
    if count < gpus:
        logger.info(
            f"{count} of {gpus} GPUs: a batch of {batch_size} takes no less time on more. "
            "Raise batch_size and lr to use them."
        )
    return count


def launch(count: int, arguments: Sequence[str]) -> None:
    """Run `python -m whaleid` with `arguments` in `count` processes that know each other, and wait for all.

    Raises:
        WhaleidError: one of them failed; the others were stopped.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    host = ["--standalone", "--local-addr=localhost"]  # a host may not know its own name
    try:
        torchrun([*host, f"--nproc-per-node={count}", "-m", "whaleid", *arguments])
    except SignalException as stop:
        if stop.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + stop.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = failure.signal_name() if failure.exitcode < 0 else f"exit code {failure.exitcode}, its error is above"
        raise WhaleidError(
            f"process {rank} of {count} ended ({how}) and all were stopped. Run the same command again: a training "
            "resumes."
        ) from None
