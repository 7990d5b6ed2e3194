"""How a process of whaleid's starts: what is to be set before torch is loaded, and imports that take less time."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


def shorten_spins() -> None:
    """Let threads that wait for each other spin briefly, unless the user's environment says otherwise.

    By default it is for so long that two trainings side by side, as in `dvc queue start --jobs 2`, each ran at a
    twentieth of their speed; with short spins, at half. libgomp reads it when torch is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@contextmanager
def importing() -> Iterator[None]:
    """Let the block import thousands of modules without searching them for garbage, then and when the process ends.

    They stay, so the search is in vain: it takes a third of the time of their import, and a second at the end.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
