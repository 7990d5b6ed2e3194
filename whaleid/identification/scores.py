"""Score every query against every whale by their embeddings.

Embeddings are float32 rows of unit length, (F, N, D): F flips of N photos, as they are and mirrored. The cosine
similarity of two photos is the mean over flips, from -1 to 1. It is computed exactly, block by block.
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
"""Embeddings of the same photos by each network: name to (F, Q, D)."""
MAX_QUERIES = 256
"""Maximum number of queries scored in one block."""
MAX_SCORES = 2**26
"""Maximum number of scores in one block (256 MiB)."""
MAX_PHOTOS = 2**17
"""Maximum number of gallery photos compared in one block; their similarities to 256 queries take 128 MiB."""


def flatten(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Concatenate the flips of embeddings (F, N, D), so that a dot product is the mean cosine over flips.

    Returns (N, F * D), rows of unit length.
    """
    flips, photos, dimensions = embeddings.shape
    rows = np.empty((photos, flips, dimensions), dtype=np.float32)
    np.multiply(embeddings.transpose(1, 0, 2), np.float32(flips**-0.5), out=rows)
    return rows.reshape(photos, flips * dimensions)


def cosines(queries: npt.NDArray[np.float32], photos: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the cosine similarities (Q, M) of queries (F, Q, D) and photos (F, M, D)."""
    product: npt.NDArray[np.float32] = flatten(queries) @ flatten(photos).T
    return product


def class_scores(queries: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute the cosine similarity (Q, C) of each query to the closest centre of each class, averaged over flips.

    `queries` are (F, Q, D); `centres` are (F, C, S, D), S per class. A photo has to be similar to only one centre of
    its class (Deng et al., "Sub-center ArcFace", ECCV 2020).
    """
    flips, classes, per_class, dimensions = centres.shape
    if per_class == 1:
        return cosines(queries, centres[:, :, 0])
    products = queries @ centres.reshape(flips, classes * per_class, dimensions).transpose(0, 2, 1)
    mean: npt.NDArray[np.float32] = products.reshape(flips, -1, classes, per_class).max(axis=3).mean(axis=0)
    return mean


def nearest_scores(
    queries: npt.NDArray[np.float32], photos: npt.NDArray[np.float32], starts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Compute the cosine similarity of each query to the nearest photo of each whale.

    Args:
        queries: (F, Q, D).
        photos: (G, F * D), embeddings of the gallery from `flatten`, sorted by whale.
        starts: (W,), the row of the first photo of each whale.

    Returns (Q, W).
    """
    rows, ends = flatten(queries), np.append(starts[1:], len(photos))
    nearest = np.empty((len(rows), len(ends)), dtype=np.float32)
    first = 0
    while first < len(ends):  # a block has at least one whale, even one with more than `MAX_PHOTOS` photos
        start = starts[first]
        after = max(first + 1, int(np.searchsorted(ends, start + MAX_PHOTOS, side="right")))
        block = rows @ photos[start : ends[after - 1]].T
        np.maximum.reduceat(block, starts[first:after] - start, axis=1, out=nearest[:, first:after])
        first = after
    return nearest


def centroids(photos: npt.NDArray[np.float32], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Compute the mean embedding of each whale, scaled to unit length: (F, W, D).

    `photos` are (F, G, D), sorted by whale; `starts` (W,) are the rows of the first photo of each whale.
    """
    sums = np.add.reduceat(photos, starts, axis=1)
    means: npt.NDArray[np.float32] = sums / np.linalg.norm(sums, axis=2, keepdims=True)
    return means


def extend_class_scores(
    class_scores: npt.NDArray[np.float32], nearest: npt.NDArray[np.float32], is_class: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Estimate the class scores of whales that are not a class of the network, such as held-out whales.

    Their nearest-photo scores are rescaled, query by query, by the linear map that takes the nearest-photo scores of
    the whales that are classes to the mean and the standard deviation of their class scores. Without it, whales that
    are not classes would rank first, because two photos are more similar than a photo and the centre of another class.

    `is_class` (W,) marks the whales that are classes; `class_scores` (Q, L) are their scores. `nearest` (Q, W) are from
    `nearest_scores`, and are returned unchanged if no whale is a class. Returns (Q, W).
    """
    if not is_class.any():
        return nearest
    reference = nearest[:, is_class]
    scale = class_scores.std(axis=1, keepdims=True) / np.maximum(reference.std(axis=1, keepdims=True), 1e-6)
    scores: npt.NDArray[np.float32] = (
        class_scores.mean(axis=1, keepdims=True) + (nearest - reference.mean(axis=1, keepdims=True)) * scale
    )
    scores[:, is_class] = class_scores
    return scores


def duplicate_scores(duplicates: Sequence[Sequence[str]], labels: npt.NDArray[np.str_]) -> npt.NDArray[np.float32]:
    """Return (Q, L): 1 where a query has a duplicate with the label, else 0.

    `duplicates` (Q,) are the labels of the duplicates of each query; `labels` are (L,).
    """
    column = {str(label): index for index, label in enumerate(labels)}
    scores = np.zeros((len(duplicates), len(labels)), dtype=np.float32)
    for query, names in enumerate(duplicates):
        scores[query, [column[name] for name in names if name in column]] = 1
    return scores


def score_name(network: str, score: str, networks: int) -> str:
    """Return the name of a score in a decision by `networks` networks: `SCORE`, or `NETWORK_SCORE` for an ensemble."""
    # duplicates do not depend on the network
    return score if networks == 1 or score == "duplicates" else f"{network}_{score}"


class Scorer:
    """Scores queries against a gallery, with one network or several.

    Args:
        features: network name to its features, which must cover the photos.
        photos: the gallery, photos of named whales, with columns `Image,Id`.
    """

    def __init__(self, features: Mapping[str, Features], photos: pd.DataFrame) -> None:
        photos = photos.sort_values("Id", kind="stable")
        self.whales, self._starts = np.unique(photos["Id"].to_numpy(dtype=np.str_), return_index=True)
        """(W,) the candidates, sorted."""
        self._features = features
        embeddings = {name: network.select(photos["Image"]) for name, network in features.items()}
        self._photos = {name: flatten(array) for name, array in embeddings.items()}
        self._centroids = {name: flatten(centroids(array, self._starts)) for name, array in embeddings.items()}

    def score(
        self, names: Sequence[str], queries: Embeddings, duplicates: Sequence[Sequence[str]]
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the scores (K, B, W + 1) of B queries at a time, for each whale and, in the last column, `new_whale`.

        `names` (K,) are as in `score_name`; `duplicates` (Q,) are the labels of each query's duplicates. The score of
        `new_whale` is 0 where it is not a class, except for `duplicates`.
        """
        count = next(iter(queries.values())).shape[1]
        size = max(1, min(MAX_QUERIES, MAX_SCORES // (len(names) * len(self.whales))))
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
        """Write the scores of one network into the rows of `table` (K, B, W + 1) that `names` assigns to them."""
        network_names = {score: score_name(network, score, len(self._features)) for score in get_args(Score)}
        tables = {score: table[names.index(name)] for score, name in network_names.items() if name in names}
        if tables.keys() & {"class", "nearest"}:
            nearest = nearest_scores(queries, self._photos[network], self._starts)
        if "nearest" in tables:
            tables["nearest"][:, :-1] = nearest
        if "centroid" in tables:
            tables["centroid"][:, :-1] = flatten(queries) @ self._centroids[network].T
        if "class" in tables:
            classes = self._features[network].classes
            column = {label: index for index, label in enumerate(classes.tolist())}
            scores, is_class = class_scores(queries, self._features[network].centres), np.isin(self.whales, classes)
            columns = [column[whale] for whale in self.whales[is_class].tolist()]
            tables["class"][:, :-1] = extend_class_scores(scores[:, columns], nearest, is_class)
            if NEW_WHALE in column:
                tables["class"][:, -1] = scores[:, column[NEW_WHALE]]


def nearest_photos(
    features: Mapping[str, Features],
    queries: Embeddings,
    whales: Sequence[str],
    photos: Mapping[str, Sequence[str]],
) -> list[str]:
    """Find, for each query, the most similar photo of its whale in `whales` (Q,), by the mean cosine over networks.

    `features` are by network and must cover `photos`, the images of each whale. Of equally similar photos, the first is
    returned; for a whale without photos, an empty string.
    """
    nearest = []
    for query, whale in enumerate(whales):
        if images := photos.get(whale):
            similarities = [
                cosines(embeddings[:, [query]], features[name].select(images))[0]
                for name, embeddings in queries.items()
            ]
            nearest.append(images[int(np.mean(similarities, axis=0).argmax())])
        else:
            nearest.append("")
    return nearest
