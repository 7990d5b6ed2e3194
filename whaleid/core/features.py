"""The features of a network, as the stage `embed` writes them: embeddings of photos and centres of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whaleid.core import arrays, paths
from whaleid.core.errors import InputProblems, WhaleidError

DTYPE_KINDS = {"embeddings": "f", "centres": "f", "classes": "U"}
"""The arrays of `Features`, each with its `np.dtype.kind`."""


@dataclass(frozen=True)
class Features:
    """Embeddings of photos and centres of classes, by one network. All vectors have unit length.

    F, the number of flips, is 2 if each photo is embedded as it is and mirrored, else 1.
    """

    rows: Mapping[str, int]
    """The row of each photo in `embeddings`, by its `Image`."""
    embeddings: npt.NDArray[np.float32]
    """(F, N, D)"""
    centres: npt.NDArray[np.float32]
    """(F, C, S, D), with S centres per class."""
    classes: npt.NDArray[np.str_]
    """(C,) labels."""

    def problem(self, photos: int) -> str:
        """Describe which shapes do not match each other or the number of `photos`; an empty string if all match."""
        if self.embeddings.ndim != 3 or self.centres.ndim != 4 or self.classes.ndim != 1:
            return "an array has a wrong number of dimensions"
        flips, rows, dimensions = self.embeddings.shape
        if rows != photos:
            return f"it has embeddings of {rows} photos instead of {photos}"
        if (self.centres.shape[0], self.centres.shape[3]) != (flips, dimensions) or not flips:
            return "the shapes of embeddings and centres do not match"
        return "" if len(self.classes) == self.centres.shape[1] else "the numbers of classes and centres do not match"

    def select(self, images: Iterable[str]) -> npt.NDArray[np.float32]:
        """Return the embeddings (F, Q, D) of `images`, in their order."""
        return self.embeddings[:, [self.rows[image] for image in images]]


def load(networks: Mapping[str, str], images: Iterable[str]) -> dict[str, Features]:
    """Read the features of each of `networks`, which maps names of networks to their variants.

    Raises:
        WhaleidError: a file is damaged, or the shapes of its arrays do not match.
        InputProblems: some of `images` have no features.
    """
    required = set(images)
    return {name: _load(variant, required) for name, variant in networks.items()}


def _load(variant: str, images: set[str]) -> Features:
    path = paths.features(variant)
    content = arrays.read(path, DTYPE_KINDS | {"images": "U"})
    names = content.pop("images").ravel().tolist()
    rows = {image: row for row, image in enumerate(names)}
    remedy = f"Run `dvc repro embed@{variant}` to rebuild it."
    if missing := sorted(images - rows.keys()):
        raise InputProblems(f"Photos are missing from {path}", missing, remedy)
    features = Features(rows, **content)
    if problem := features.problem(len(names)):
        raise WhaleidError(f"{path} cannot be used ({problem}). {remedy}")
    return features
