"""What `embed` leaves of networks, as `calibrate` and `predict` read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from whaleid.core import arrays, paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.identification.networks import KINDS, Features, Networks


def load(networks: Mapping[str, str], images: Iterable[str]) -> Networks:
    """Read the features of networks, which must cover `images`; `networks` maps the name each gets to its variant.

    Raises:
        WhaleidError: a file is not whole, or its arrays do not go together.
        InputProblems: photos are not covered.
    """
    wanted = set(images)
    return Networks({name: _load(variant, wanted) for name, variant in networks.items()})


def _load(variant: str, images: set[str]) -> Features:
    path = paths.features(variant)
    content = arrays.read(path, KINDS | {"images": "U"})
    names = content.pop("images").ravel().tolist()
    rows = {image: row for row, image in enumerate(names)}
    remedy = f"Rerun `dvc repro embed@{variant}`."
    if missing := sorted(images - rows.keys()):
        raise InputProblems(f"Photos are not in {path}", missing, remedy)
    features = Features(rows, **content)
    if problem := features.amiss(len(names)):
        raise WhaleidError(f"{path} cannot be used ({problem}). {remedy}")
    return features
