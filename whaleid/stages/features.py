"""What `embed` leaves of a variant, as `calibrate` and `predict` read it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid import paths
from whaleid.errors import InputProblems
from whaleid.identify import similarity

BLOCK = 256
"""Queries that are compared at a time: their cosines to ten thousand photos take 10 MB a view."""


@dataclass(frozen=True)
class Features:
    """Embeddings of photos and centres of classes, rows of unit length, in V views."""

    rows: dict[str, int]  # of `embeddings`, by Image
    embeddings: npt.NDArray[np.float32]  # (V, N, D)
    centres: npt.NDArray[np.float32]  # (V, C, S, D), S centres a class
    classes: npt.NDArray[np.str_]  # (C,)

    def of(self, images: Iterable[str]) -> npt.NDArray[np.float32]:
        """Return the embeddings (V, Q, D) of `images`."""
        return self.embeddings[:, [self.rows[image] for image in images]]

    def gallery(self, photos: pd.DataFrame) -> similarity.Gallery:
        """Return `photos`, `Image,Id`, as what queries are compared with."""
        return similarity.gallery(self.of(photos["Image"]), photos["Id"].to_numpy(dtype=np.str_))

    def score_tables(
        self,
        names: Sequence[str],
        images: Sequence[str],
        evidence: Sequence[Sequence[str]],
        among: similarity.Gallery,
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the `score_table` (K, B, W + 1) of `images`, a block at a time, so that many fit into memory."""
        for start in range(0, len(images), BLOCK):
            block = slice(start, start + BLOCK)
            yield similarity.score_table(
                names, self.of(images[block]), evidence[block], among, self.centres, self.classes
            )


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
            stage = "embed-final" if variant == paths.FINAL else f"embed@{variant}"
            raise InputProblems(f"Photos are not in {path}", missing, f"Rerun `dvc repro {stage}`.")
        return Features(rows, arrays["embeddings"], arrays["centres"], arrays["classes"])
