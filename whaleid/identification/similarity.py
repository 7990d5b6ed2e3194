"""How well queries fit each whale, from embeddings alone: redone without the network.

Embeddings are float32 rows of unit length, in V views of a photo (as it is, mirrored): (V, N, D). Cosines are taken
view by view and averaged, so they go from -1 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whaleid.core.labels import NEW_WHALE

DUPLICATES = "duplicates"
"""The score that needs no embeddings: 1 for the labels of a query's duplicates, else 0."""
PHOTOS = 2**17
"""That queries are compared with at a time: the cosines of 256 queries to them take 128 MiB."""
NEIGHBOURS = 10
"""Whales whose likeness makes the `density` around a query."""


@dataclass(frozen=True)
class Gallery:
    """Photos of named whales, those of one whale side by side: what queries are compared with."""

    whales: npt.NDArray[np.str_]  # (W,), distinct, sorted: the candidates
    starts: npt.NDArray[np.int64]  # (W,), the first photo of each
    photos: npt.NDArray[np.float32]  # (G, V * D), `joined`
    centroids: npt.NDArray[np.float32]  # (W, V * D), the mean of each whale's photos, of unit length in each view


def gallery(embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.str_]) -> Gallery:
    """Return photos `embeddings` (V, G, D) with `labels` (G,), which hold no `new_whale`, as a gallery."""
    order = np.argsort(labels, kind="stable")
    whales, starts = np.unique(labels[order], return_index=True)
    photos = embeddings[:, order]
    sums = np.add.reduceat(photos, starts, axis=1)
    return Gallery(whales, starts, joined(photos), joined(sums / np.linalg.norm(sums, axis=2, keepdims=True)))


def joined(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (N, V * D), rows of unit length whose dot products are the mean over views (V, N, D) of cosines."""
    views, photos, dimensions = embeddings.shape
    rows = np.empty((photos, views, dimensions), dtype=np.float32)
    np.multiply(embeddings.transpose(1, 0, 2), np.float32(views**-0.5), out=rows)
    return rows.reshape(photos, views * dimensions)


def cosines(queries: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (Q, M): the mean over views of the cosines of queries (V, Q, D) and others (V, M, D)."""
    mean: npt.NDArray[np.float32] = joined(queries) @ joined(others).T
    return mean


def class_scores(queries: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (Q, C): the mean over views of the largest cosine of queries (V, Q, D) to a class's centres (V, C, S, D).

    With several centres a class, a photo needs to be like one of them only (Deng et al., "Sub-center ArcFace",
    ECCV 2020).
    """
    views, classes, several, dimensions = centres.shape
    if several == 1:
        return cosines(queries, centres[:, :, 0])
    found = queries @ centres.reshape(views, classes * several, dimensions).transpose(0, 2, 1)
    mean: npt.NDArray[np.float32] = found.reshape(views, -1, classes, several).max(axis=3).mean(axis=0)
    return mean


def nearest_scores(queries: npt.NDArray[np.float32], among: Gallery) -> npt.NDArray[np.float32]:
    """Return (Q, W): the cosine of queries (V, Q, D) to the photo of each whale that is most like them."""
    rows, ends = joined(queries), np.append(among.starts[1:], len(among.photos))
    nearest = np.empty((len(rows), len(among.whales)), dtype=np.float32)
    first = 0
    while first < len(nearest.T):  # as many whales at a time as have so many photos, but one at least
        start = among.starts[first]
        after = max(first + 1, int(np.searchsorted(ends, start + PHOTOS, side="right")))
        some = rows @ among.photos[start : ends[after - 1]].T
        np.maximum.reduceat(some, among.starts[first:after] - start, axis=1, out=nearest[:, first:after])
        first = after
    return nearest


def centroid_scores(queries: npt.NDArray[np.float32], among: Gallery) -> npt.NDArray[np.float32]:
    """Return (Q, W): the cosine of queries (V, Q, D) to the normalised mean of each whale's photos."""
    scores: npt.NDArray[np.float32] = joined(queries) @ among.centroids.T
    return scores


def in_class_terms(
    nearest: npt.NDArray[np.float32], of_classes: npt.NDArray[np.float32], learnt: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return (Q, W): class scores of all whales, where `of_classes` (Q, L) are those of the L that are `learnt` (W,).

    The others, as those that validation held out, are given the score of their nearest photo, `nearest` (Q, W), moved
    and stretched, query by query, as takes the learnt whales' `nearest` to the mean and the spread of their class
    scores. Two photos are more alike than a photo and the class centre of another whale: taken as they are, the scores
    of nearest photos would rank whales first that no network has learnt. Where none is learnt, they stay as they are.
    """
    if not learnt.any():
        return nearest
    if learnt.all():
        return of_classes
    known = nearest[:, learnt]
    spread = of_classes.std(axis=1, keepdims=True) / np.maximum(known.std(axis=1, keepdims=True), 1e-6)
    scores: npt.NDArray[np.float32] = (
        of_classes.mean(axis=1, keepdims=True) + (nearest - known.mean(axis=1, keepdims=True)) * spread
    )
    scores[:, learnt] = of_classes
    return scores


def duplicate_scores(evidence: Sequence[Sequence[str]], labels: npt.NDArray[np.str_]) -> npt.NDArray[np.float32]:
    """Return (Q, L): 1 where a query's `evidence`, the labels of its duplicates, holds the label (L,), else 0."""
    column = {str(label): index for index, label in enumerate(labels)}
    found = np.zeros((len(evidence), len(labels)), dtype=np.float32)
    for query, said in enumerate(evidence):
        found[query, [column[label] for label in said if label in column]] = 1
    return found


def density(nearest: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return (Q,) how crowded the neighbourhood is: the mean of `nearest` (Q, W) over the ten whales most alike."""
    several = min(NEIGHBOURS, nearest.shape[1])
    largest = np.partition(nearest, nearest.shape[1] - several, axis=1)[:, -several:]
    mean: npt.NDArray[np.float64] = largest.mean(axis=1, dtype=np.float64)
    return mean


def score_table(
    names: Sequence[str],
    queries: npt.NDArray[np.float32],
    nearest: npt.NDArray[np.float32],
    evidence: Sequence[Sequence[str]],
    among: Gallery,
    centres: npt.NDArray[np.float32],
    classes: npt.NDArray[np.str_],
) -> npt.NDArray[np.float32]:
    """Return (K, Q, W + 1): the K scores named of every query for every whale of the gallery, then for `new_whale`.

    `names` are of `class`, `nearest`, `centroid` and `duplicates`; `queries` is (V, Q, D), `nearest` (Q, W) their
    `nearest_scores`, `evidence` the labels of each query's duplicates, `centres` (V, C, S, D) those of `classes` (C,),
    some of the whales among them. What nothing tells of `new_whale` is 0: where it is no class, that is everything but
    `duplicates`.
    """
    labels = np.append(among.whales, NEW_WHALE)
    table = np.zeros((len(names), queries.shape[1], len(labels)), dtype=np.float32)
    for scores, name in zip(table, names, strict=True):
        if name == "class":
            of_classes = class_scores(queries, centres)
            row = {str(label): index for index, label in enumerate(classes)}
            learnt = np.isin(among.whales, classes)
            columns = [row[label] for label in among.whales[learnt].tolist()]
            scores[:, :-1] = in_class_terms(nearest, of_classes[:, columns], learnt)
            if NEW_WHALE in row:
                scores[:, -1] = of_classes[:, row[NEW_WHALE]]
        elif name == "nearest":
            scores[:, :-1] = nearest
        elif name == "centroid":
            scores[:, :-1] = centroid_scores(queries, among)
        else:
            scores[:] = duplicate_scores(evidence, labels)
    return table
