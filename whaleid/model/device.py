"""Device, precision and threads of a network. They depend on the machine and are never parameters."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from whaleid.core import ranks
from whaleid.core.errors import WhaleidError, first_line

STABLE_MULTIPLE = 16
"""Batch sizes that are multiples of this give the same result for any number of threads.

Measured with torch 2.9, 1 to 8 threads and six backbones.
"""
_THREAD_COUNT_LOCK = threading.Lock()


def pick_device() -> torch.device:
    """Return the device named by `WHALEID_DEVICE` (`cpu`, `cuda`, `cuda:1`), else the first GPU, else the CPU.

    Each process started by torchrun gets its own GPU. On GPUs, this function enables deterministic algorithms.

    Raises:
        WhaleidError: the machine does not have the device, or has fewer GPUs than processes.
    """
    name = os.environ.get("WHALEID_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    processes, gpus = ranks.local_world_size(), torch.cuda.device_count()
    if name.startswith("cuda:") and processes > 1:
        raise WhaleidError(
            f"WHALEID_DEVICE={name} is one device, but {processes} processes were started on this host. Unset it, or "
            "set it to cuda."
        )
    if name == "cuda" and ranks.launched_by_torchrun():
        if processes > gpus:
            raise WhaleidError(
                f"{processes} processes were started on this host, which has {gpus} GPUs. Start one process per GPU "
                "at most, or set WHALEID_DEVICE=cpu."
            )
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise WhaleidError(
            f"WHALEID_DEVICE={name}: this machine has no such device ({first_line(error)}). Unset it, or set it to cpu."
        ) from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without this, cuBLAS is not deterministic
        torch.use_deterministic_algorithms(True, warn_only=True)
    return device


@contextmanager
def stable_threads(batch_size: int) -> Iterator[None]:
    """Make the results of a batch of `batch_size` photos independent of the number of threads, to the last bit.

    torch divides a multiple of `STABLE_MULTIPLE` photos among threads photo by photo. For other batch sizes, threads
    change the order of summation, so one thread is used.
    """
    if batch_size % STABLE_MULTIPLE == 0:
        yield
        return
    with _THREAD_COUNT_LOCK:  # the number of threads is global to the process
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def precision(device: torch.device) -> torch.dtype:
    """Return the dtype of training: bfloat16 on GPUs with native support for it, else float32."""
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32
