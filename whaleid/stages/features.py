"""What `embed` leaves of networks, as `calibrate` and `predict` read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from whaleid import paths
from whaleid.errors import InputProblems
from whaleid.identify.networks import Features, Networks


def load(networks: Sequence[str], images: Iterable[str]) -> Networks:
    """Read the features of `networks`, which must cover `images`.

    Raises:
        InputProblems: photos are not covered.
    """
    wanted = set(images)
    return Networks({network: _load(network, wanted) for network in networks})


def _load(network: str, images: set[str]) -> Features:
    path = paths.features(network)
    with np.load(path, allow_pickle=False) as arrays:
        rows = {str(image): row for row, image in enumerate(arrays["images"])}
        missing = sorted(images - rows.keys())
        if missing:
            variant = Path(network).name
            stage = f"embed@{variant}" if network == variant else f"embed-final@{variant}"
            raise InputProblems(f"Photos are not in {path}", missing, f"Rerun `dvc repro {stage}`.")
        return Features(rows, arrays["embeddings"], arrays["centres"], arrays["classes"])
