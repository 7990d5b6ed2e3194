"""Identify the whales on photos by a bundle alone: from the bytes of their files to ranked labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np

from whaleid.core.labels import NEW_WHALE, Score
from whaleid.duplicates.hashing import Orientation
from whaleid.duplicates.pairs import Descriptors, describe, duplicates_between, orientations
from whaleid.identification.ranking import rank
from whaleid.identification.scores import Scorer, nearest_photos, score_name
from whaleid.images.crop import Box
from whaleid.images.fingerprint import Fingerprint, file_metadata, thumbnails
from whaleid.serving.about import ABOUT
from whaleid.serving.bundle import Bundle, misfit
from whaleid.serving.embedder import Embedded, Embedder, Query


@dataclass(frozen=True)
class Candidate:
    """A label for a photo."""

    whale: str  # a label of the catalogue, or `new_whale`
    probability: float  # for `new_whale`, what all whales together leave of 1
    nearest: str  # the labelled photo of that whale most like the query; empty for `new_whale`


@dataclass(frozen=True)
class Duplicate:
    """A labelled photo that is the same picture."""

    photo: str
    whale: str
    distance: int  # bits of 64 between the perceptual hashes
    error: float  # share of the pixels' variance left unexplained


@dataclass(frozen=True)
class Answer:
    """The whales that a photo may be of."""

    photo: str
    names: Sequence[Candidate] = ()
    """Five at most, by probability; `new_whale` stands where the threshold puts it."""
    same: Sequence[Duplicate] = ()
    """The closest first."""
    fluke: Box | None = None
    """As in `Embedded`."""
    problem: str = ""
    """What is wrong with the file; then the rest is empty."""


class Recogniser:
    """Identifies whales by a bundle; thread-safe.

    Args:
        bundle: the model, and the labelled photos that it compares queries with.
        embedder: its networks, if they are loaded already.

    Raises:
        WhaleidError: networks of the bundle cannot be read, or do not fit its photos, embeddings or decision.
    """

    def __init__(self, bundle: Bundle, embedder: Embedder | None = None) -> None:
        self.bundle = bundle
        networks = [*bundle.features]
        scores = {score_name(name, score, len(networks)) for name in networks for score in get_args(Score)}
        if unknown := [name for name in bundle.about.decision.weights if name not in scores]:
            raise misfit(ABOUT, f"there is no score {unknown[0]!r}")
        self.embedder = embedder or Embedder(bundle)

    def identify(self, queries: Sequence[Query], threshold: float | None = None) -> list[Answer]:
        """Return the answer to each of `queries`, in order; for a file that is no photo, its problem.

        `threshold`, 0 to 1, replaces that of the bundle.
        """
        photos = self.embedder.read(queries)
        readable = [each for each in photos if not isinstance(each, str)]
        answers = iter(self.answer(self.embedder.embed(readable), threshold) if readable else [])
        return [
            Answer(query.name, problem=each) if isinstance(each, str) else next(answers)
            for query, each in zip(queries, photos, strict=True)
        ]

    def answer(self, photos: Sequence[Embedded], threshold: float | None = None) -> list[Answer]:
        """Return the answer to each of `photos`, one or more; `threshold` as in `identify`."""
        about, limit = self.bundle.about, self.bundle.about.threshold if threshold is None else threshold
        embeddings = {name: np.stack([each.embeddings[name] for each in photos], axis=1) for name in about.networks}
        duplicates = self._duplicates([each.fingerprint for each in photos])
        labels = [[each.whale for each in same] for same in duplicates]
        answers: list[Answer] = []
        for top in about.decision.predict(self._scorer, embeddings, labels):
            ranked, values = rank(top.labels, top.probabilities, limit)
            values = np.where(ranked == NEW_WHALE, np.maximum(0.0, 1.0 - top.known_probability)[:, None], values)
            for whales, probabilities in zip(ranked.tolist(), values.tolist(), strict=True):
                query = len(answers)
                alike = {name: each[:, [query] * len(whales)] for name, each in embeddings.items()}
                nearest = nearest_photos(self.bundle.features, alike, whales, self._images)
                names = [Candidate(*each) for each in zip(whales, probabilities, nearest, strict=True)]
                answers.append(Answer(photos[query].name, names, duplicates[query], photos[query].fluke))
        return answers

    def _duplicates(self, prints: Sequence[Fingerprint]) -> list[list[Duplicate]]:
        """Return the labelled photos that duplicate each of the photos with `prints`, the closest first."""
        known, rule = self.bundle.photos, self.bundle.about.dedup
        queries = describe(file_metadata(prints), thumbnails(prints), orientations(rule))
        pairs = duplicates_between(self._known, queries, rule)
        duplicates: list[list[Duplicate]] = [[] for _ in prints]
        for row, query, _, distance, error in pairs.itertuples(index=False):
            image, whale = str(known.at[row, "Image"]), str(known.at[row, "Id"])
            duplicates[query].append(Duplicate(image, whale, distance, round(error, 6)))
        return duplicates

    @cached_property
    def _known(self) -> Descriptors:
        return describe(self.bundle.photos, self.bundle.thumbnails, [Orientation.UPRIGHT])

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.bundle.features, self.bundle.compared)

    @cached_property
    def _images(self) -> dict[str, list[str]]:
        return {str(whale): rows.tolist() for whale, rows in self.bundle.compared.groupby("Id")["Image"]}
