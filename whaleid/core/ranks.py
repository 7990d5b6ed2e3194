"""A process's place among those that `torchrun` started, as the environment tells it."""

import os


def launched() -> bool:
    """Tell whether torchrun started this process, alone or among others."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def first() -> bool:
    """Tell whether this process is the one that writes, tracks and talks: it is alone, or the first of several."""
    return not launched() or os.environ["RANK"] == "0"


def beside() -> int:
    """Return how many processes torchrun started on this host; 1 without it."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1
