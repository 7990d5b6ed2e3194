"""How well queries fit each whale: scores of queries against labelled photos, from embeddings alone.

Embeddings are float32 rows of unit length, (F, N, D): F flips of N photos, as they are and mirrored. The cosine of two
photos is the mean over flips, from -1 to 1. Everything is compared by exact matrix products, in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.features import Features
from whaleid.core.labels import NEW_WHALE, Score

Embeddings = Mapping[str, npt.NDArray[np.float32]]
"""Embeddings of the same photos, (F, Q, D) by network."""
QUERIES = 256
"""Compared at a time, or fewer:"""
VALUES = 2**26
"""the most scores of a block, 256 MiB."""
PHOTOS = 2**17
"""Compared with at a time: their cosines with 256 queries take 128 MiB."""


def flatten(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (N, F * D), rows of unit length whose dot products are the cosines of embeddings (F, N, D)."""
    flips, photos, dimensions = embeddings.shape
    rows = np.empty((photos, flips, dimensions), dtype=np.float32)
    np.multiply(embeddings.transpose(1, 0, 2), np.float32(flips**-0.5), out=rows)
    return rows.reshape(photos, flips * dimensions)


def cosines(queries: npt.NDArray[np.float32], photos: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (Q, M): the cosines of queries (F, Q, D) and photos (F, M, D)."""
    product: npt.NDArray[np.float32] = flatten(queries) @ flatten(photos).T
    return product


def class_scores(queries: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (Q, C): the mean over flips of the largest cosine of queries (F, Q, D) to a class's centres (F, C, S, D).

    With several centres a class, a photo needs to be like one of them only (Deng et al., "Sub-center ArcFace",
    ECCV 2020).
    """
    flips, classes, several, dimensions = centres.shape
    if several == 1:
        return cosines(queries, centres[:, :, 0])
    products = queries @ centres.reshape(flips, classes * several, dimensions).transpose(0, 2, 1)
    mean: npt.NDArray[np.float32] = products.reshape(flips, -1, classes, several).max(axis=3).mean(axis=0)
    return mean


def nearest_scores(
    queries: npt.NDArray[np.float32], photos: npt.NDArray[np.float32], starts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return (Q, W): the cosine of queries (F, Q, D) to the photo of each whale that is most like them.

    `photos` (G, F * D) are `flatten`; each whale has those from its start (W,) to the next.
    """
    rows, ends = flatten(queries), np.append(starts[1:], len(photos))
    nearest = np.empty((len(rows), len(ends)), dtype=np.float32)
    first = 0
    while first < len(ends):  # as many whales at a time as have `PHOTOS` photos, but one at least
        start = starts[first]
        after = max(first + 1, int(np.searchsorted(ends, start + PHOTOS, side="right")))
        block = rows @ photos[start : ends[after - 1]].T
        np.maximum.reduceat(block, starts[first:after] - start, axis=1, out=nearest[:, first:after])
        first = after
    return nearest


def centroids(photos: npt.NDArray[np.float32], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return (F, W, D): the mean of each whale's photos (F, G, D), those from its start (W,) on, of unit length."""
    sums = np.add.reduceat(photos, starts, axis=1)
    means: npt.NDArray[np.float32] = sums / np.linalg.norm(sums, axis=2, keepdims=True)
    return means


def extend_class_scores(
    class_scores: npt.NDArray[np.float32], nearest: npt.NDArray[np.float32], learnt: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return (Q, W) class scores of all whales from those (Q, L) of the L whales that are `learnt` (W,).

    Whales that are no class, such as those that validation holds out, get the score of their nearest photo, `nearest`
    (Q, W), standardised query by query: by the linear map that takes the learnt whales' `nearest` to the mean and the
    deviation of their class scores. Two photos are more alike than a photo and the class centre of another whale: the
    scores of nearest photos as they are would rank whales first that no network has learnt. If no whale is learnt, all
    keep the score of their nearest photo.
    """
    if not learnt.any():
        return nearest
    known = nearest[:, learnt]
    scale = class_scores.std(axis=1, keepdims=True) / np.maximum(known.std(axis=1, keepdims=True), 1e-6)
    scores: npt.NDArray[np.float32] = (
        class_scores.mean(axis=1, keepdims=True) + (nearest - known.mean(axis=1, keepdims=True)) * scale
    )
    scores[:, learnt] = class_scores
    return scores


def duplicate_scores(duplicates: Sequence[Sequence[str]], labels: npt.NDArray[np.str_]) -> npt.NDArray[np.float32]:
    """Return (Q, L): 1 where the labels of a query's `duplicates` hold the label (L,), else 0."""
    column = {str(label): index for index, label in enumerate(labels)}
    scores = np.zeros((len(duplicates), len(labels)), dtype=np.float32)
    for query, names in enumerate(duplicates):
        scores[query, [column[name] for name in names if name in column]] = 1
    return scores


def score_name(network: str, score: str, networks: int) -> str:
    """Return the name of a score: its own, or `NETWORK_SCORE` where several `networks` decide together."""
    # duplicates are the same for every network
    return score if networks == 1 or score == "duplicates" else f"{network}_{score}"


class Scorer:
    """Scores queries against labelled photos, by one or several networks.

    Args:
        features: of each network, which cover the photos.
        photos: `Image,Id`, of named whales.
    """

    def __init__(self, features: Mapping[str, Features], photos: pd.DataFrame) -> None:
        photos = photos.sort_values("Id", kind="stable")
        self.whales, self._starts = np.unique(photos["Id"].to_numpy(dtype=np.str_), return_index=True)
        """(W,), sorted: the candidates."""
        self._features = features
        embeddings = {name: each.select(photos["Image"]) for name, each in features.items()}
        self._photos = {name: flatten(each) for name, each in embeddings.items()}
        self._centroids = {name: flatten(centroids(each, self._starts)) for name, each in embeddings.items()}

    def score(
        self, names: Sequence[str], queries: Embeddings, duplicates: Sequence[Sequence[str]]
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the scores of queries for each whale, then for `new_whale`: (K, B, W + 1), some queries at a time.

        `names` (K,) are those of `score_name`; `duplicates` (Q,) the labels of each query's duplicates. The score of
        `new_whale` is 0 where it is no class, except for `duplicates`.
        """
        count = next(iter(queries.values())).shape[1]
        size = max(1, min(QUERIES, VALUES // (len(names) * len(self.whales))))
        for start in range(0, count, size):
            block = slice(start, start + size)
            table = np.zeros((len(names), min(size, count - start), len(self.whales) + 1), dtype=np.float32)
            for network, embeddings in queries.items():
                self._fill(table, names, network, embeddings[:, block])
            if "duplicates" in names:
                labels = np.append(self.whales, NEW_WHALE)
                table[names.index("duplicates")] = duplicate_scores(duplicates[block], labels)
            yield table

    def _fill(
        self, table: npt.NDArray[np.float32], names: Sequence[str], network: str, queries: npt.NDArray[np.float32]
    ) -> None:
        """Write the scores of one network that are among `names` to their places in the table (K, B, W + 1)."""
        places = {score: score_name(network, score, len(self._features)) for score in get_args(Score)}
        tables = {score: table[names.index(name)] for score, name in places.items() if name in names}
        if tables.keys() & {"class", "nearest"}:
            nearest = nearest_scores(queries, self._photos[network], self._starts)
        if "nearest" in tables:
            tables["nearest"][:, :-1] = nearest
        if "centroid" in tables:
            tables["centroid"][:, :-1] = flatten(queries) @ self._centroids[network].T
        if "class" in tables:
            classes = self._features[network].classes
            column = {label: index for index, label in enumerate(classes.tolist())}
            scores, learnt = class_scores(queries, self._features[network].centres), np.isin(self.whales, classes)
            columns = [column[whale] for whale in self.whales[learnt].tolist()]
            tables["class"][:, :-1] = extend_class_scores(scores[:, columns], nearest, learnt)
            if NEW_WHALE in column:
                tables["class"][:, -1] = scores[:, column[NEW_WHALE]]


def nearest_photos(
    features: Mapping[str, Features],
    queries: Embeddings,
    whales: Sequence[str],
    photos: Mapping[str, Sequence[str]],
) -> list[str]:
    """Return, for each query, the photo most like it of the whale at its place in `whales` (Q,).

    `features` cover the `photos` of each whale, by label. Cosines are averaged over networks; of equals the first is
    returned, and an empty string for a whale without photos.
    """
    nearest = []
    for query, whale in enumerate(whales):
        if images := photos.get(whale):
            alike = [cosines(each[:, [query]], features[name].select(images))[0] for name, each in queries.items()]
            nearest.append(images[int(np.mean(alike, axis=0).argmax())])
        else:
            nearest.append("")
    return nearest
