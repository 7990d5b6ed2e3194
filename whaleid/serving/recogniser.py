"""Identify the whales on photos by a bundle alone: from the bytes of their files to ranked labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE, Score
from whaleid.detection import network as box_network
from whaleid.detection.prediction import CERTAIN, aspects, predict_batch
from whaleid.duplicates.hashing import Orientation, perceptual_hashes, to_hex
from whaleid.duplicates.pairs import Descriptors, describe, duplicates_between, orientations
from whaleid.identification.ranking import rank
from whaleid.identification.scores import Scorer, nearest_photos, score_name
from whaleid.images.crop import WHOLE, Box
from whaleid.images.decode import decode
from whaleid.images.fingerprint import Fingerprint, facts, fingerprint, thumbnails
from whaleid.images.pack import Region, Shape, cut
from whaleid.model import checkpoint
from whaleid.model.device import pick_device
from whaleid.model.embedding import embed_batch, prepare
from whaleid.serving.bundle import Bundle, extended

BATCH = 16
"""Photos to identify at a time: large ones need some 40 MB each."""
T = TypeVar("T")


def batches(items: Sequence[T]) -> list[Sequence[T]]:
    """Return `items` in order, `BATCH` at a time."""
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


class Photo(NamedTuple):
    """A photo to identify."""

    name: str
    content: bytes  # of its file


class Candidate(NamedTuple):
    """A label for a photo."""

    whale: str  # a label of the catalogue, or `new_whale`
    probability: float  # for `new_whale`, what all whales together leave of 1
    nearest: str  # the labelled photo of that whale most like the query; empty for `new_whale`


class Duplicate(NamedTuple):
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
    """The box of the fluke, as fractions of the photo's width and height; None if none was looked for."""
    problem: str = ""
    """What is wrong with the file; then the rest is empty."""


@dataclass(frozen=True)
class Embedded:
    """Fingerprints, flukes and embeddings of B photos that could be read."""

    names: list[str]
    prints: list[Fingerprint]
    flukes: list[Box | None]
    embeddings: Mapping[str, npt.NDArray[np.float32]]  # (V, B, D) by network
    problems: Mapping[int, str]  # of the photos that could not be read, by their row among all


class Recogniser:
    """Identifies whales by a bundle, on the device of `pick_device`; thread-safe.

    Raises:
        WhaleidError: networks of the bundle cannot be read, or do not fit its photos, embeddings or decision.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._device = pick_device()
        settings = bundle.about.pack
        shape = settings.height, settings.width, 1 if settings.grey else 3
        self._networks = {}
        for name, content in bundle.networks.items():
            network, description = checkpoint.load(content, name)
            description.check_photos(shape, name)
            prepare(network, self._device)
            self._networks[name] = network, description.flip != "off"
        self._boxes = None
        if bundle.boxes and (settings.crop or settings.turn):
            self._boxes = box_network.load(bundle.boxes, "boxes")
            prepare(self._boxes, self._device)
        self._decision = bundle.about.decision
        self._check_parts()
        self._pool = ThreadPoolExecutor(torch.get_num_threads())

    def _check_parts(self) -> None:
        """Refuse embeddings of other networks, and a decision by scores that the bundle does not have."""
        features = self.bundle.features
        scores = {score_name(name, score, len(features)) for name in features for score in get_args(Score)}
        problems = [f"there is no score {name!r}" for name in self._decision.weights if name not in scores]
        for name, (network, mirrored) in self._networks.items():
            views, _, dimensions = features[name].embeddings.shape
            expected = 1 + mirrored, network.embedding
            if (views, dimensions) != expected:
                problems.append(f"{name}: {views} views of {dimensions} numbers, not {expected[0]} of {expected[1]}")
        if problems:
            raise WhaleidError(
                f"The bundle's files do not fit each other ({'; '.join(problems)}). Copy it again, or make it again by "
                "`dvc repro bundle`."
            )

    def extended(
        self, photos: pd.DataFrame, prints: Sequence[Fingerprint], embeddings: Mapping[str, npt.NDArray[np.float32]]
    ) -> Recogniser:
        """Return one that knows further labelled `photos`, `Image,Id`, by their `embeddings` (V, M, D) by network.

        Photos of `new_whale` count as duplicates only.
        """
        small = thumbnails(prints)
        rows = photos.reset_index(drop=True).join(facts(prints))
        rows = rows.assign(phash=to_hex(perceptual_hashes(small)), compared=(rows["Id"] != NEW_WHALE).astype(int))
        more = copy(self)
        more.bundle = extended(self.bundle, rows, small, embeddings)
        for name in ("_known", "_scorer", "_images"):  # computed anew when they are needed
            more.__dict__.pop(name, None)
        return more

    def identify(self, photos: Sequence[Photo], threshold: float | None = None) -> list[Answer]:
        """Return the answer to each of `photos`, in order; for a file that is no photo, its problem.

        `threshold`, 0 to 1, replaces that of the bundle.
        """
        read = self.embed(photos)
        answers = iter(self.answer(read, threshold))
        return [
            Answer(photo.name, problem=read.problems[row]) if row in read.problems else next(answers)
            for row, photo in enumerate(photos)
        ]

    def embed(self, photos: Sequence[Photo]) -> Embedded:
        """Read `photos`, find their flukes and embed them."""
        settings = self.bundle.about.pack
        mode = "L" if settings.grey else "RGB"
        read = list(self._pool.map(partial(_read, mode=mode), photos))
        problems = {row: each for row, each in enumerate(read) if isinstance(each, str)}
        names = [photo.name for row, photo in enumerate(photos) if row not in problems]
        prints = [each[0] for each in read if not isinstance(each, str)]
        images = [each[1] for each in read if not isinstance(each, str)]
        regions = self._find_flukes(images)
        shape = Shape(settings.width, settings.height, mode, settings.margin, settings.stretch)
        arrays = list(self._pool.map(partial(cut, shape=shape), images, regions))
        embeddings = {}
        if arrays:
            inputs = torch.from_numpy(np.stack(arrays)).to(self._device)
            for name, (network, mirrored) in self._networks.items():
                view = self.bundle.about.networks[name]
                embeddings[name] = embed_batch(network, inputs, mirrored, view.zoom, view.tilt).cpu().numpy()
        return Embedded(names, prints, [region.box for region in regions], embeddings, problems)

    def answer(self, photos: Embedded, threshold: float | None = None) -> list[Answer]:
        """Return the answer to each of `photos`; `threshold` as in `identify`."""
        if not photos.names:
            return []
        limit = self.bundle.about.threshold if threshold is None else threshold
        duplicates = self._duplicates(photos.prints)
        labels = [[each.whale for each in of_query] for of_query in duplicates]
        answers: list[Answer] = []
        for table in self._scorer.score([*self._decision.weights], photos.embeddings, labels):
            top = self._decision.predict(table, self._scorer.whales)
            ranked, values = rank(top.labels, top.values, limit)
            for row, whales in enumerate(ranked.tolist()):
                query = len(answers)
                rest = max(0.0, 1.0 - float(top.known[row]))
                pairs = zip(whales, values[row].tolist(), strict=True)
                probabilities = [rest if whale == NEW_WHALE else value for whale, value in pairs]
                alike = {name: each[:, [query] * len(whales)] for name, each in photos.embeddings.items()}
                nearest = nearest_photos(self.bundle.features, alike, whales, self._images)
                candidates = [Candidate(*each) for each in zip(whales, probabilities, nearest, strict=True)]
                answers.append(Answer(photos.names[query], candidates, duplicates[query], photos.flukes[query]))
        return answers

    def _duplicates(self, prints: Sequence[Fingerprint]) -> list[list[Duplicate]]:
        """Return the labelled photos that duplicate each of the photos with `prints`, the closest first."""
        known, rule = self.bundle.photos, self.bundle.about.dedup
        queries = describe(facts(prints), thumbnails(prints), orientations(rule))
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

    def _find_flukes(self, images: Sequence[Image.Image]) -> list[Region]:
        """Return where the fluke lies on each of `images`, and whether the photo is to be turned."""
        if self._boxes is None or not images:
            return [Region()] * len(images)
        square = Shape(self._boxes.size, self._boxes.size, stretch=True)
        squares = self._pool.map(lambda image: cut(image, Region(WHOLE), square), images)
        inputs = torch.from_numpy(np.stack(list(squares))).to(self._device)
        boxes = predict_batch(self._boxes, inputs).cpu().numpy()
        own = np.array([image.width / image.height for image in images])
        settings = self.bundle.about.pack
        return [
            Region((x0, y0, x1, y1) if settings.crop else None, aspect, settings.turn and turned > CERTAIN)
            for (x0, y0, x1, y1, _, turned), aspect in zip(
                boxes.tolist(), aspects(self._boxes, boxes[:, :5], own).tolist(), strict=True
            )
        ]


def _read(photo: Photo, mode: str) -> tuple[Fingerprint, Image.Image] | str:
    """Return the fingerprint and the pixels of a photo, or what is wrong with it."""
    try:
        path = Path(photo.name)
        return fingerprint(path, photo.content), decode(path, content=photo.content).convert(mode)
    except WhaleidError as error:
        return str(error)
