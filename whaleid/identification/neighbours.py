"""The photos of a gallery that are most like a query, found without comparing it with all of them.

Photos are parted by k-means into lists, of which a query looks into a few (Sivic and Zisserman, "Video Google", ICCV
2003). There it is compared with short codes (Jegou et al., "Product Quantization for Nearest Neighbor Search", TPAMI
2011, 4 bits each, as Andre et al., "Cache locality is not enough", VLDB 2015), and of the most alike exactly.
"""

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from whaleid.identification.similarity import Gallery, centroid_scores, joined, nearest_scores

FOUND = 256
"""Photos that are found for a query."""
COMPARED = 4
"""Times as many are compared exactly."""
NEAREST = 10
"""Photos of whose search the recall is measured."""
RECALL = 0.99
"""That is asked for among a gallery's own photos."""
SAMPLE = 256
"""Queries by which recall is measured."""
FEW = 10_000
"""Photos that are all looked at: that is faster."""
EACH = 64
"""Photos a list by which its mean is found."""
TOGETHER = 4
"""Numbers of an embedding that make one code."""


class Neighbours:
    """Photos of a gallery, parted into lists; each query looks into as many as its recall takes.

    Args:
        among: whose photos they are.
    """

    def __init__(self, among: Gallery) -> None:
        self._among = among
        photos, dimensions = among.photos.shape
        whales = np.arange(len(among.whales))
        self._whale = np.repeat(whales, np.diff(among.starts, append=photos))  # (G,), the row of each photo's whale
        self._index: Any = None
        if photos <= FEW:
            return
        lists, codes = round(2 * photos**0.5), -(-dimensions // TOGETHER)
        kind = f"Pad{codes * TOGETHER},IVF{lists},PQ{codes}x4fs,RFlat"
        self._index = faiss.index_factory(dimensions, kind, faiss.METRIC_INNER_PRODUCT)
        self._index.k_factor = COMPARED
        parted = faiss.extract_index_ivf(self._index.base_index)
        parted.cp.max_points_per_centroid = EACH
        self._index.train(among.photos)
        self._index.add(among.photos)
        some = _some(among.photos)
        nearest = self._nearest(some, NEAREST + 1)[:, 1:]  # of a photo of the gallery, itself is the first
        while self._share(some, nearest) < RECALL and parted.nprobe < lists:
            parted.nprobe *= 2

    def scores(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (Q, W), as `similarity.nearest_scores` of queries (V, Q, D), by the photos that are found.

        Whales of which none is found are given the cosine to their centroid, or the least that is found where that is
        less.
        """
        if self._index is None:
            return nearest_scores(queries, self._among)
        cosines, rows = self._index.search(joined(queries), FOUND)
        found = rows >= 0  # where the lists hold fewer, the rest are -1
        least = np.where(found, cosines, np.inf).min(axis=1, keepdims=True)
        nearest: npt.NDArray[np.float32] = np.minimum(centroid_scores(queries, self._among), least)
        query = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
        np.maximum.at(nearest, (query[found], self._whale[rows[found]]), cosines[found])
        return nearest

    def recall(self, queries: npt.NDArray[np.float32]) -> float:
        """Return which share of the ten photos most like queries (V, Q, D) is found, by 256 of them at most."""
        if self._index is None:
            return 1.0
        some = _some(joined(queries))
        return self._share(some, self._nearest(some, NEAREST))

    def _nearest(self, queries: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
        """Return (Q, count), the photos that are most like rows (Q, V * D), the most alike first."""
        rows: npt.NDArray[np.int64] = faiss.knn(queries, self._among.photos, count, faiss.METRIC_INNER_PRODUCT)[1]
        return rows

    def _share(self, queries: npt.NDArray[np.float32], nearest: npt.NDArray[np.int64]) -> float:
        rows = self._index.search(queries, FOUND)[1]
        return float(np.mean([np.isin(row, found).mean() for row, found in zip(nearest, rows, strict=True)]))


def _some(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return every n-th of `rows`, so that there are 256 at most."""
    return rows[:: -(-len(rows) // SAMPLE)]
