"""How long threads spin while they wait for each other: to be shortened before torch is imported."""

import os


def shorten() -> None:
    """Let them spin briefly, unless the user's environment says otherwise.

    By default it is for so long that two trainings side by side, as in `dvc queue start --jobs 2`, each ran at a
    twentieth of their speed; with short spins, at half. libgomp reads it when torch is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
