"""The features of a network, as `embed` writes them: embeddings of photos and centres of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whaleid.core import arrays, paths
from whaleid.core.errors import InputProblems, WhaleidError

KINDS = {"embeddings": "f", "centres": "f", "classes": "U"}
"""The arrays of `Features` and their `np.dtype.kind`."""


@dataclass(frozen=True)
class Features:
    """Embeddings of photos and centres of classes by one network: float32 rows of unit length.

    F, the number of flips, is 2 where a photo is embedded as it is and mirrored, else 1.
    """

    rows: Mapping[str, int]
    """The row of `embeddings` of each photo, by its Image."""
    embeddings: npt.NDArray[np.float32]
    """(F, N, D)"""
    centres: npt.NDArray[np.float32]
    """(F, C, S, D), S centres a class."""
    classes: npt.NDArray[np.str_]
    """(C,)"""

    def problem(self, photos: int) -> str:
        """Return why the arrays do not fit each other and the number of `photos`; an empty string if they do."""
        if self.embeddings.ndim != 3 or self.centres.ndim != 4 or self.classes.ndim != 1:
            return "arrays of other shapes"
        flips, rows, dimensions = self.embeddings.shape
        if rows != photos:
            return f"embeddings of {rows} photos, not {photos}"
        if (self.centres.shape[0], self.centres.shape[3]) != (flips, dimensions) or not flips:
            return f"centres of {self.centres.shape[0]} flips, not {flips}"
        return "" if len(self.classes) == self.centres.shape[1] else "other classes than centres"

    def select(self, images: Iterable[str]) -> npt.NDArray[np.float32]:
        """Return the embeddings (F, Q, D) of `images`."""
        return self.embeddings[:, [self.rows[image] for image in images]]


def load(networks: Mapping[str, str], images: Iterable[str]) -> dict[str, Features]:
    """Read the features of networks, which must cover `images`; `networks` maps the name of each to its variant.

    Raises:
        WhaleidError: a file is damaged, or its arrays do not fit each other.
        InputProblems: photos are not covered.
    """
    required = set(images)
    return {name: _load(variant, required) for name, variant in networks.items()}


def _load(variant: str, images: set[str]) -> Features:
    path = paths.features(variant)
    content = arrays.read(path, KINDS | {"images": "U"})
    names = content.pop("images").ravel().tolist()
    rows = {image: row for row, image in enumerate(names)}
    remedy = f"Rerun `dvc repro embed@{variant}`."
    if missing := sorted(images - rows.keys()):
        raise InputProblems(f"Photos are not in {path}", missing, remedy)
    features = Features(rows, **content)
    if problem := features.problem(len(names)):
        raise WhaleidError(f"{path} cannot be used ({problem}). {remedy}")
    return features
