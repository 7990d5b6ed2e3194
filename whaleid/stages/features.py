"""What `embed` leaves of a variant, as `calibrate` and `predict` read it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whaleid import paths
from whaleid.errors import InputProblems
from whaleid.identify import similarity


@dataclass(frozen=True)
class Features:
    """Embeddings of photos and centres of classes, rows of unit length."""

    rows: dict[str, int]  # of `embeddings`, by Image
    embeddings: npt.NDArray[np.float32]  # (N, D)
    centres: npt.NDArray[np.float32]  # (C, D)
    classes: npt.NDArray[np.str_]  # (C,)
    scale: float

    def logits(self, images: Iterable[str]) -> npt.NDArray[np.float32]:
        """Return the class logits (Q, C) of `images`."""
        rows = [self.rows[image] for image in images]
        return similarity.class_logits(self.embeddings[rows], self.centres, self.scale)


def load(variant: str, images: Iterable[str]) -> Features:
    """Read the features of `variant`, which must cover `images`.

    Raises:
        InputProblems: photos are not covered.
    """
    path = paths.features(variant)
    with np.load(path, allow_pickle=False) as arrays:
        rows = {str(image): row for row, image in enumerate(arrays["images"])}
        missing = sorted(set(images) - rows.keys())
        if missing:
            raise InputProblems(f"Photos are not in {path}", missing, f"Rerun `dvc repro embed@{variant}`.")
        return Features(rows, arrays["embeddings"], arrays["centres"], arrays["classes"], float(arrays["scale"]))
