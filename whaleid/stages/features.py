"""What `embed` leaves of networks, as `calibrate` and `predict` read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from whaleid.core import arrays, paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.identification.networks import KINDS, Features, Networks


def load(networks: Sequence[str], images: Iterable[str]) -> Networks:
    """Read the features of `networks`, which must cover `images`.

    Raises:
        WhaleidError: a file is not whole, or its arrays do not go together.
        InputProblems: photos are not covered.
    """
    wanted = set(images)
    return Networks({network: _load(network, wanted) for network in networks})


def _load(network: str, images: set[str]) -> Features:
    path = paths.features(network)
    found = arrays.read(path, KINDS | {"images": "U"})
    names = found.pop("images").ravel().tolist()
    rows = {image: row for row, image in enumerate(names)}
    variant = Path(network).name
    remedy = f"Rerun `dvc repro {f'embed@{variant}' if network == variant else f'embed-final@{variant}'}`."
    if missing := sorted(images - rows.keys()):
        raise InputProblems(f"Photos are not in {path}", missing, remedy)
    features = Features(rows, **found)
    if amiss := features.amiss(len(names)):
        raise WhaleidError(f"{path} cannot be used ({amiss}). {remedy}")
    return features
