"""The photos of a gallery that are most like a query: all of them looked at, or only those in its neighbourhood.

Looking at all is exact, and takes a second for a hundred queries among a million photos. An inverted file (Sivic and
Zisserman, "Video Google", ICCV 2003) parts the photos by k-means into lists, of which a query looks into a few.
"""

import faiss
import numpy as np
import numpy.typing as npt

from whaleid.identify.similarity import Gallery, joined

FOUND = 1024
"""Photos that are found for a query."""
NEAREST = 10
"""Of which the recall is measured."""
RECALL = 0.99
"""That is asked for among a gallery's own photos."""
SAMPLE = 256
"""Queries by which recall is measured."""
EACH = 64
"""Photos a list by which its mean is found; faiss asks for 39."""


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
        lists = max(1, min(round(2 * photos**0.5), photos // EACH))
        means = faiss.IndexFlatIP(dimensions)
        self._index = faiss.IndexIVFFlat(means, dimensions, lists, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.max_points_per_centroid = EACH
        self._index.cp.min_points_per_centroid = 1  # no warning where there are few photos
        self._index.train(among.photos)
        self._index.add(among.photos)
        some = _some(among.photos)
        nearest = self._nearest(some)
        self._index.nprobe = 1
        while self._share(some, nearest) < RECALL and self._index.nprobe < lists:
            self._index.nprobe *= 2

    def scores(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (Q, W), as `similarity.nearest_scores` of queries (V, Q, D): of no whale more, of some less.

        Whales of which no photo is found are given the least cosine that is.
        """
        cosines, rows = self._index.search(joined(queries), min(FOUND, len(self._whale)))
        found = rows >= 0  # where the lists hold fewer, the rest are -1
        least = np.where(found, cosines, np.inf).min(axis=1, keepdims=True)
        nearest: npt.NDArray[np.float32] = np.repeat(least, len(self._among.whales), axis=1)
        query = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
        np.maximum.at(nearest, (query[found], self._whale[rows[found]]), cosines[found])
        return nearest

    def recall(self, queries: npt.NDArray[np.float32]) -> float:
        """Return which share of the ten photos most like queries (V, Q, D) is found, by 256 of them at most."""
        some = _some(joined(queries))
        return self._share(some, self._nearest(some))

    def _nearest(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Return (Q, 10), the photos that are most like rows (Q, V * D)."""
        count = min(NEAREST, len(self._whale))
        rows: npt.NDArray[np.int64] = faiss.knn(queries, self._among.photos, count, faiss.METRIC_INNER_PRODUCT)[1]
        return rows

    def _share(self, queries: npt.NDArray[np.float32], nearest: npt.NDArray[np.int64]) -> float:
        found = self._index.search(queries, nearest.shape[1])[1]
        return float((nearest[:, :, None] == found[:, None, :]).any(axis=2).mean())


def _some(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return every n-th of `rows`, so that there are 256 at most."""
    return rows[:: -(-len(rows) // SAMPLE)]
