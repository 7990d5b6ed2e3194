"""Queries beside the photos of named whales, as one or several networks see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import Score
from whaleid.identification import similarity
from whaleid.identification.neighbours import Neighbours
from whaleid.identification.ranking import leading

BLOCK = 256
"""Queries that are compared at a time, or fewer:"""
VALUES = 2**26
"""as many scores as they may have together, which take 256 MiB."""


KINDS = {"embeddings": "f", "centres": "f", "classes": "U"}
"""The arrays of `Features`, and what they hold, as `np.dtype.kind` says it."""


@dataclass(frozen=True)
class Features:
    """Embeddings of photos and centres of classes, rows of unit length, in V views, by one network."""

    rows: dict[str, int]  # of `embeddings`, by Image
    embeddings: npt.NDArray[np.float32]  # (V, N, D)
    centres: npt.NDArray[np.float32]  # (V, C, S, D), S centres a class
    classes: npt.NDArray[np.str_]  # (C,)

    def amiss(self, photos: int) -> str:
        """Say what does not go together with the embeddings of so many `photos`; an empty string where all does."""
        if self.embeddings.ndim != 3 or self.centres.ndim != 4 or self.classes.ndim != 1:
            return "arrays of other shapes"
        views, there, dimensions = self.embeddings.shape
        if there != photos:
            return f"embeddings of {there} photos, not {photos}"
        if (self.centres.shape[0], self.centres.shape[3]) != (views, dimensions) or not views:
            return f"centres of {self.centres.shape[0]} views, not {views}"
        return "" if len(self.classes) == self.centres.shape[1] else "other classes than centres"

    def of(self, images: Iterable[str]) -> npt.NDArray[np.float32]:
        """Return the embeddings (V, Q, D) of `images`."""
        return self.embeddings[:, [self.rows[image] for image in images]]

    def gallery(self, photos: pd.DataFrame) -> similarity.Gallery:
        """Return `photos`, `Image,Id`, as what queries are compared with."""
        return similarity.gallery(self.of(photos["Image"]), photos["Id"].to_numpy(dtype=np.str_))


@dataclass(frozen=True)
class Scores:
    """What networks make of some queries."""

    table: npt.NDArray[np.float32]  # (K, B, W + 1), as `similarity.score_table`
    by_centroid: npt.NDArray[np.str_]  # (B, 5), the whales whose centroids are most alike; none unless asked for
    density: npt.NDArray[np.float64]  # (B,), the mean over networks of `similarity.density`


@dataclass(frozen=True)
class Networks:
    """What networks that decide together make of the photos, and what their scores are called."""

    features: dict[str, Features]  # by network

    @property
    def classes(self) -> set[str]:
        """The classes that a network has learnt, all networks together."""
        return {label for each in self.features.values() for label in each.classes.tolist()}

    def called(self, network: str, score: str) -> str:
        """Return the name of a score of `network`: its own, or `VARIANT_SCORE` where several networks give one each."""
        # duplicates say the same beside every network
        alone = len(self.features) == 1 or score == similarity.DUPLICATES
        return score if alone else f"{Path(network).name}_{score}"

    def among(self, photos: pd.DataFrame, neighbours: str) -> Comparison:
        """Return what compares queries with `photos`, `Image,Id`, of whales in order of label: see `neighbours`."""
        galleries = {name: each.gallery(photos) for name, each in self.features.items()}
        found = {name: Neighbours(among) for name, among in galleries.items()} if neighbours == "approximate" else {}
        return Comparison(self, galleries, found)

    def nearest(self, pairs: Sequence[tuple[str, str]], photos: pd.DataFrame) -> list[str]:
        """Return, for each pair of a photo and a whale, the whale's photo among `photos` that is most like it.

        Cosines are averaged over views and networks; of equals the first is taken. A whale without photos has an empty
        string.
        """
        of_whale = {whale: rows.tolist() for whale, rows in photos.groupby("Id")["Image"]}
        found = []
        for image, whale in pairs:
            images = of_whale.get(whale, [])
            cosines = [similarity.cosines(each.of([image]), each.of(images))[0] for each in self.features.values()]
            found.append(images[int(np.mean(cosines, axis=0).argmax())] if images else "")
        return found


@dataclass(frozen=True)
class Comparison:
    """Queries beside the photos of named whales, by each of some networks."""

    networks: Networks
    galleries: dict[str, similarity.Gallery]  # by network
    neighbours: dict[str, Neighbours]  # by network, where not all photos are looked at

    def scores(
        self,
        names: Sequence[str],
        images: Sequence[str],
        evidence: Sequence[Sequence[str]],
        by_centroid: bool = False,
    ) -> Iterator[Scores]:
        """Yield the scores of `images`, a block at a time: those of all may not fit into memory.

        `names` (K,) are what the scores are `called`. Of several networks, the cosines to centroids are averaged.
        """
        networks, galleries = self.networks, self.galleries
        asked: dict[str, dict[str, str]] = {}  # by network, what its scores are called, and which they are
        for network in networks.features:
            called = {networks.called(network, score): score for score in get_args(Score)}
            asked[network] = {name: called[name] for name in names if name in called}
        whales = next(iter(galleries.values())).whales
        several = max(1, min(BLOCK, VALUES // (len(names) * len(whales))))
        for start in range(0, len(images), several):
            block = slice(start, start + several)
            found: dict[str, npt.NDArray[np.float32]] = {}
            crowds, centroids = [], []
            for network, features in networks.features.items():
                queries = features.of(images[block])
                nearest = self._nearest(network, queries)
                crowds.append(similarity.density(nearest))
                table = similarity.score_table(
                    [*asked[network].values()],
                    queries,
                    nearest,
                    evidence[block],
                    galleries[network],
                    features.centres,
                    features.classes,
                )
                found.update(zip(asked[network], table, strict=True))
                if by_centroid:
                    there = found.get(networks.called(network, "centroid"))
                    among = galleries[network]
                    centroids.append(similarity.centroid_scores(queries, among) if there is None else there[:, :-1])
            five = leading(np.mean(centroids, axis=0), whales)[0] if by_centroid else np.empty((0, 0), dtype=np.str_)
            table = table if len(networks.features) == 1 else np.stack([found[name] for name in names])
            yield Scores(table, five, np.mean(crowds, axis=0))

    def recall(self, images: Sequence[str]) -> dict[str, float]:
        """Return `neighbour_recall`: `Neighbours.recall`, the mean over networks; nothing where all is looked at."""
        if not self.neighbours or not images:
            return {}
        found = [each.recall(self.networks.features[name].of(images)) for name, each in self.neighbours.items()]
        return {"neighbour_recall": float(np.mean(found))}

    def _nearest(self, network: str, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if network in self.neighbours:
            return self.neighbours[network].scores(queries)
        return similarity.nearest_scores(queries, self.galleries[network])
