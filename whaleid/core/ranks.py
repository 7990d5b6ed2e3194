"""The rank of this process among the processes of `torchrun`, read from the environment."""

import os


def launched_by_torchrun() -> bool:
    """Return whether torchrun started this process, also if it is the only one."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_main_process() -> bool:
    """Return whether this process writes, tracks and prints: it is the only one, or has rank 0."""
    return not launched_by_torchrun() or os.environ["RANK"] == "0"


def local_world_size() -> int:
    """Return the number of processes that torchrun started on this host; 1 without torchrun."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched_by_torchrun() else 1
