"""Where a network runs and in which precision: facts of the machine, never parameters."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from whaleid.core import ranks
from whaleid.core.errors import WhaleidError, first_line

WHOLE = 16
"""Photos; measured on torch 2.9 with 1 to 8 threads and six backbones."""
_ONE_THREAD = threading.Lock()


def pick_device() -> torch.device:
    """Return the device that `WHALEID_DEVICE` names (`cpu`, `cuda`, `cuda:1`), else the first GPU, else the CPU.

    Each process that torchrun started on this host gets its own GPU. On GPUs, algorithms are deterministic.

    Raises:
        WhaleidError: this machine lacks the device, or there are fewer devices than processes.
    """
    name = os.environ.get("WHALEID_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    processes, gpus = ranks.local_world_size(), torch.cuda.device_count()
    if name.startswith("cuda:") and processes > 1:
        raise WhaleidError(
            f"WHALEID_DEVICE={name} is one device, but {processes} processes were started on this host: unset it, or "
            "set cuda."
        )
    if name == "cuda" and ranks.launched_by_torchrun():
        if processes > gpus:
            raise WhaleidError(
                f"{processes} processes were started on this host, which has {gpus} GPUs: start as many processes as "
                "GPUs, or set WHALEID_DEVICE=cpu."
            )
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise WhaleidError(
            f"WHALEID_DEVICE={name}: not on this machine ({first_line(error)}). Unset it, or set cpu."
        ) from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with this alone
        torch.use_deterministic_algorithms(True, warn_only=True)
    return device


@contextmanager
def stable_threads(photos: int) -> Iterator[None]:
    """Compute a batch of so many `photos` with the same last digits for any number of threads.

    torch shares out a multiple of `WHOLE` by photos; within a smaller part, threads change the order of sums.
    """
    if photos % WHOLE == 0:
        yield
        return
    with _ONE_THREAD:  # the number is that of the whole process
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def precision(device: torch.device) -> torch.dtype:
    """Return the type that networks are trained in: bfloat16 on GPUs that compute in it, else float32."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32
