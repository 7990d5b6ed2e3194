"""A process's place among those that `torchrun` started, read from the environment."""

import os


def launched() -> bool:
    """Return whether torchrun started this process, alone or with others."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def first() -> bool:
    """Return whether this process writes, tracks and prints: it is alone, or rank 0."""
    return not launched() or os.environ["RANK"] == "0"


def local_size() -> int:
    """Return how many processes torchrun started on this host; 1 without it."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1
