"""Start one training process per GPU of this host, with `torchrun`."""

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
"""Minimum number of photos per GPU in a batch. A GPU takes as long for fewer photos."""


def process_count(batch_size: int | None) -> int:
    """Return the number of processes to start for a stage; 1 means that this process runs the stage itself.

    It is the number of GPUs, or fewer if a batch of `batch_size` has fewer than `PHOTOS_PER_GPU` photos per GPU (None
    sets no such limit). It is 1 if torchrun started this process or `WHALEID_DEVICE` is set.
    """
    if ranks.launched_by_torchrun() or os.environ.get("WHALEID_DEVICE"):
        return 1
    gpus = torch.cuda.device_count()
    count = max(1, gpus if batch_size is None else min(gpus, batch_size // PHOTOS_PER_GPU))
    if count < gpus:
        logger.info(
            f"{count} of {gpus} GPUs are used: a batch of {batch_size} photos is not faster on more. "
            "Increase batch_size and lr to use them."
        )
    return count


def launch(count: int, arguments: Sequence[str]) -> None:
    """Run `python -m whaleid` with `arguments` in `count` processes of one torchrun group, and wait for all.

    Raises:
        WhaleidError: a process failed, and the others were stopped.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    host = ["--standalone", "--local-addr=localhost"]  # a host may be unable to resolve its own name
    try:
        torchrun([*host, f"--nproc-per-node={count}", "-m", "whaleid", *arguments])
    except SignalException as stop:
        if stop.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + stop.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        reason = failure.signal_name() if failure.exitcode < 0 else f"exit code {failure.exitcode}, its error is above"
        raise WhaleidError(
            f"process {rank} of {count} ended ({reason}), so all were stopped. Run the same command again: training "
            "resumes after the last saved epoch."
        ) from None
