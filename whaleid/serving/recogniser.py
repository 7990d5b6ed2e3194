"""Identify the whales in photos with a bundle: from the content of their files to ranked labels."""

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
from whaleid.serving.bundle import Bundle, mismatch_error
from whaleid.serving.embedder import EmbeddedPhoto, Embedder, Query


@dataclass(frozen=True)
class Candidate:
    """A candidate label of a query."""

    whale: str  # a label of the catalogue, or `new_whale`
    probability: float  # for `new_whale`, 1 minus the sum over all known whales
    nearest: str  # the most similar labelled photo of that whale; empty for `new_whale`


@dataclass(frozen=True)
class Duplicate:
    """A labelled photo that is the same picture as a query."""

    photo: str
    whale: str
    distance: int  # Hamming distance of the perceptual hashes, 0 to 64 bits
    error: float  # share of the pixels' variance that the other photo does not explain


@dataclass(frozen=True)
class Answer:
    """The result for one query. Its fields are the keys of the JSON output."""

    photo: str
    names: Sequence[Candidate] = ()
    """Up to five candidates: whales above the threshold, `new_whale`, then the other whales."""
    same: Sequence[Duplicate] = ()
    """Duplicates among the labelled photos, the closest first."""
    fluke: Box | None = None
    """The detected box of the fluke, in fractions of the photo's width and height; None without detection."""
    problem: str = ""
    """The reason why the file could not be read; all other fields except `photo` are then empty."""


class Recogniser:
    """Identifies whales with a bundle. Thread-safe.

    Args:
        bundle: the model and its labelled photos.
        embedder: the networks of the bundle, if they are already loaded.

    Raises:
        WhaleidError: a network of the bundle cannot be read, or does not match its photos, embeddings or decision.
    """

    def __init__(self, bundle: Bundle, embedder: Embedder | None = None) -> None:
        self.bundle = bundle
        networks = [*bundle.features]
        scores = {score_name(name, score, len(networks)) for name in networks for score in get_args(Score)}
        if unknown := [name for name in bundle.about.decision.weights if name not in scores]:
            raise mismatch_error(ABOUT, f"unknown score {unknown[0]!r}")
        self.embedder = embedder or Embedder(bundle)

    def identify(self, queries: Sequence[Query], threshold: float | None = None) -> list[Answer]:
        """Identify the whales on `queries`.

        `threshold`, 0 to 1, replaces the threshold of the bundle. Returns one answer per query, in order. The answer to
        a file that cannot be read has only a `problem`.
        """
        photos = self.embedder.read(queries)
        readable = [photo for photo in photos if not isinstance(photo, str)]
        answers = iter(self.identify_embedded(self.embedder.embed(readable), threshold) if readable else [])
        return [
            Answer(query.name, problem=photo) if isinstance(photo, str) else next(answers)
            for query, photo in zip(queries, photos, strict=True)
        ]

    def identify_embedded(self, photos: Sequence[EmbeddedPhoto], threshold: float | None = None) -> list[Answer]:
        """Identify the whales on one or more embedded photos; `threshold` as in `identify`."""
        about, limit = self.bundle.about, self.bundle.about.threshold if threshold is None else threshold
        embeddings = {name: np.stack([photo.embeddings[name] for photo in photos], axis=1) for name in about.networks}
        duplicates = self._find_duplicates([photo.fingerprint for photo in photos])
        labels = [[duplicate.whale for duplicate in matches] for matches in duplicates]
        answers: list[Answer] = []
        for top in about.decision.predict(self._scorer, embeddings, labels):
            ranked, values = rank(top.labels, top.probabilities, limit)
            values = np.where(ranked == NEW_WHALE, np.maximum(0.0, 1.0 - top.known_probability)[:, None], values)
            for whales, probabilities in zip(ranked.tolist(), values.tolist(), strict=True):
                query = len(answers)
                repeated = {name: array[:, [query] * len(whales)] for name, array in embeddings.items()}
                nearest = nearest_photos(self.bundle.features, repeated, whales, self._images)
                candidates = [Candidate(*fields) for fields in zip(whales, probabilities, nearest, strict=True)]
                answers.append(Answer(photos[query].name, candidates, duplicates[query], photos[query].fluke))
        return answers

    def _find_duplicates(self, fingerprints: Sequence[Fingerprint]) -> list[list[Duplicate]]:
        """Return the labelled photos that duplicate each query, the closest first, given their fingerprints."""
        photos, rule = self.bundle.photos, self.bundle.about.dedup
        queries = describe(file_metadata(fingerprints), thumbnails(fingerprints), orientations(rule))
        pairs = duplicates_between(self._descriptors, queries, rule)
        duplicates: list[list[Duplicate]] = [[] for _ in fingerprints]
        for row, query, _, distance, error in pairs.itertuples(index=False):
            image, whale = str(photos.at[row, "Image"]), str(photos.at[row, "Id"])
            duplicates[query].append(Duplicate(image, whale, distance, round(error, 6)))
        return duplicates

    @cached_property
    def _descriptors(self) -> Descriptors:
        return describe(self.bundle.photos, self.bundle.thumbnails, [Orientation.UPRIGHT])

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.bundle.features, self.bundle.compared)

    @cached_property
    def _images(self) -> dict[str, list[str]]:
        return {str(whale): rows.tolist() for whale, rows in self.bundle.compared.groupby("Id")["Image"]}
