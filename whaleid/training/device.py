"""Where the network runs: a fact of the machine, never a parameter."""

import os

import torch

from whaleid.core import ranks
from whaleid.core.errors import WhaleidError
from whaleid.training.distributed import World


def pick_device() -> torch.device:
    """Return the device named by `WHALEID_DEVICE` (`cpu`, `cuda`, `cuda:1`), else the first GPU, else the CPU.

    Of several processes that torchrun started on this host, each has a GPU of its own.

    Raises:
        WhaleidError: the environment names a device that this machine hasn't got, or one for several processes, or
            there are more processes than GPUs.
    """
    named = os.environ.get("WHALEID_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    beside = ranks.beside()
    if named.startswith("cuda:") and beside > 1:
        raise WhaleidError(
            f"WHALEID_DEVICE={named} is one device, but {beside} processes were started on this host: unset it, or set "
            "cuda."
        )
    if named == "cuda" and ranks.launched():
        if beside > torch.cuda.device_count():
            raise WhaleidError(
                f"{beside} processes were started on this host, which has {torch.cuda.device_count()} GPUs: start as "
                "many processes as GPUs, or set WHALEID_DEVICE=cpu."
            )
        named = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(named)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise WhaleidError(f"WHALEID_DEVICE={named}: not on this machine ({reason}). Unset it, or name cpu.") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def describe(device: torch.device, world: World) -> str:
    """Return the device of the first process in words, and how many there are, for a log line."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{device} ({kind})" + (f", {world.size} processes" if world.size > 1 else "")
