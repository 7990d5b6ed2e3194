"""Where the network runs: a fact of the machine, never a parameter."""

import os

import torch

from whaleid.errors import WhaleidError


def pick_device() -> torch.device:
    """Return the device named by `WHALEID_DEVICE` (`cpu`, `cuda`, `cuda:1`), else the first GPU, else the CPU.

    Raises:
        WhaleidError: the environment names a device that this machine hasn't got.
    """
    named = os.environ.get("WHALEID_DEVICE")
    if not named:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(named)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise WhaleidError(f"WHALEID_DEVICE={named}: not on this machine ({reason}). Unset it, or name cpu.") from None
    return device


def describe(device: torch.device) -> str:
    """Return the device in words, for a log line."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"
