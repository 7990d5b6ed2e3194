"""Who is on a photo: from the bytes of its file to ranked names, by a bundle alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE, Score
from whaleid.core.parallel import cores
from whaleid.detection import network as box_network
from whaleid.detection.prediction import CERTAIN, aspects, predict_batch
from whaleid.duplicates import matching
from whaleid.duplicates.hashing import Orientation
from whaleid.identification.decision import from_json
from whaleid.identification.ranking import rank
from whaleid.identification.scores import Scorer, nearest_photos, score_name
from whaleid.images.crop import WHOLE, Box
from whaleid.images.decode import decode
from whaleid.images.fingerprint import Fingerprint, facts, fingerprint, thumbnails
from whaleid.images.pack import Source, packed
from whaleid.model import checkpoint
from whaleid.model.embedding import embed_batch, prepare
from whaleid.serving.bundle import Bundle, extended
from whaleid.training.device import pick_device

BATCH = 16
"""Photos to ask of at a time: large ones need some 40 MB each while they are looked at."""
T = TypeVar("T")


def batches(items: Sequence[T]) -> list[Sequence[T]]:
    """Return `items` in their order, `BATCH` at a time."""
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


class Photo(NamedTuple):
    """A photo as it comes."""

    name: str
    content: bytes  # of its file


class Name(NamedTuple):
    """One of the names that a photo is given."""

    whale: str  # a label of the catalogue, or `new_whale`
    probability: float  # of `new_whale` what all whales together leave of 1
    nearest: str  # the labelled photo of that whale that is most like the query; empty for `new_whale`


class Same(NamedTuple):
    """A labelled photo that is the same picture."""

    photo: str
    whale: str
    distance: int  # bits of 64 between the perceptual hashes
    error: float  # share of the pixels' variance left unexplained


@dataclass(frozen=True)
class Answer:
    """Who is on a photo."""

    photo: str
    names: Sequence[Name] = ()
    """Five at most, in order of probability, but for `new_whale`, which stands where the threshold puts it."""
    same: Sequence[Same] = ()
    """The closest first."""
    fluke: Box | None = None
    """Where the fluke was found, as fractions of the photo's width and height; None where none was looked for."""
    problem: str = ""
    """What is wrong with the file: then there is nothing else."""


@dataclass(frozen=True)
class Seen:
    """What a bundle's networks and hashes make of some photos that could be read."""

    names: list[str]
    prints: list[Fingerprint]
    flukes: list[Box | None]
    embeddings: Mapping[str, npt.NDArray[np.float32]]  # (V, B, D) by network
    problems: Mapping[int, str]  # of the photos that could not be read, by their place among those looked at


class Recogniser:
    """Names whales by a bundle, on the device that `pick_device` finds; several threads may ask at once.

    Raises:
        WhaleidError: networks of the bundle cannot be read, or do not fit how its photos are packed.
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
        self._decision = from_json(bundle.about.decision.model_dump())
        self._refuse_torn()
        self._pool = ThreadPoolExecutor(cores())
        self._computing = Lock()  # a network looks at its maps by a hook, which would see those of another call as well

    def _refuse_torn(self) -> None:
        """Refuse embeddings that these networks did not make, and a decision by scores that there are not."""
        features = self.bundle.features
        scores = {score_name(name, score, len(features)) for name in features for score in get_args(Score)}
        amiss = [f"there is no score {name!r}" for name in self._decision.fusion.weights if name not in scores]
        for name, (network, mirrored) in self._networks.items():
            views, _, dimensions = features[name].embeddings.shape
            if (views, dimensions) != (1 + mirrored, network.embedding):
                amiss.append(
                    f"{name}: {views} views of {dimensions} numbers, not {1 + mirrored} of {network.embedding}"
                )
        if amiss:
            raise WhaleidError(f"The bundle's files do not go together ({'; '.join(amiss)}). Copy or make it again.")

    def extended(
        self,
        photos: pd.DataFrame,
        fingerprints: Sequence[Fingerprint],
        embeddings: Mapping[str, npt.NDArray[np.float32]],
    ) -> Recogniser:
        """Return one that knows further labelled `photos`, `Image,Id`, of which its networks made `embeddings`.

        These are (V, M, D) by network. Among photos labelled `new_whale`, only duplicates are looked for.
        """
        rows = photos.reset_index(drop=True).join(facts(fingerprints))
        rows = rows.assign(compared=(rows["Id"] != NEW_WHALE).astype(int))
        more = copy(self)
        more.bundle = extended(self.bundle, rows, thumbnails(fingerprints), embeddings)
        for made in ("_known", "_scorer", "_images"):  # anew, when they are needed
            more.__dict__.pop(made, None)
        return more

    def identify(self, photos: Sequence[Photo], threshold: float | None = None) -> list[Answer]:
        """Return who is on each of `photos`, in their order; a file that is no photo is answered with its problem.

        `threshold`, 0 to 1, takes the place of the bundle's own.
        """
        seen = self.see(photos)
        answers = iter(self.answer(seen, threshold))
        return [
            Answer(photo.name, problem=seen.problems[row]) if row in seen.problems else next(answers)
            for row, photo in enumerate(photos)
        ]

    def see(self, photos: Sequence[Photo]) -> Seen:
        """Look at `photos`: what identifies them, without asking yet who they are."""
        mode = "L" if self.bundle.about.pack.grey else "RGB"
        read = list(self._pool.map(partial(_read, mode=mode), photos))
        problems = {row: said for row, said in enumerate(read) if isinstance(said, str)}
        names = [photo.name for row, photo in enumerate(photos) if row not in problems]
        good = [each for each in read if not isinstance(each, str)]
        sources = self._find([image for _, image in good])
        settings = self.bundle.about.pack

        def cut(image: Image.Image, source: Source) -> npt.NDArray[np.uint8]:
            return packed(image, source, settings.width, settings.height, settings.margin, settings.stretch)

        arrays = list(self._pool.map(cut, [image for _, image in good], sources))
        embeddings = {}
        if arrays:
            taken = torch.from_numpy(np.stack(arrays)).to(self._device)
            for name, (network, mirrored) in self._networks.items():
                view = self.bundle.about.networks[name]
                with torch.inference_mode(), self._computing:
                    found = embed_batch(network, taken, mirrored, view.zoom, view.tilt)
                embeddings[name] = found.cpu().numpy()
        return Seen(names, [each for each, _ in good], [source.box for source in sources], embeddings, problems)

    def answer(self, seen: Seen, threshold: float | None = None) -> list[Answer]:
        """Return who is on the photos that were `seen`; `threshold` as in `identify`."""
        if not seen.names:
            return []
        limit = self.bundle.about.threshold if threshold is None else threshold
        photos, rule = self.bundle.photos, self.bundle.about.dedup
        allowed = matching.orientations(rule)
        queries = matching.describe(facts(seen.prints), thumbnails(seen.prints), allowed)
        copies = matching.matches_between(queries, self._known, rule)
        same: list[list[Same]] = [[] for _ in seen.names]
        for (row, query), distance, error in zip(copies.pairs.tolist(), copies.distance, copies.error, strict=True):
            image, whale = str(photos.at[row, "Image"]), str(photos.at[row, "Id"])
            same[query].append(Same(image, whale, int(distance), round(float(error), 6)))

        answers: list[Answer] = []
        evidence = [[each.whale for each in found] for found in same]
        for table in self._scorer.score([*self._decision.fusion.weights], seen.embeddings, evidence):
            top = self._decision.predict(table, self._scorer.whales)
            labels, values = rank(top.labels, top.values, limit)
            for row, whales in enumerate(labels.tolist()):
                query = len(answers)
                left = max(0.0, 1.0 - float(top.known[row]))
                pairs = zip(whales, values[row].tolist(), strict=True)
                chances = [left if whale == NEW_WHALE else value for whale, value in pairs]
                embeddings = {
                    network: np.repeat(each[:, [query]], len(whales), axis=1)
                    for network, each in seen.embeddings.items()
                }
                nearest = nearest_photos(self.bundle.features, embeddings, whales, self._images)
                names = [Name(*each) for each in zip(whales, chances, nearest, strict=True)]
                answers.append(Answer(seen.names[query], names, same[query], seen.flukes[query]))
        return answers

    @cached_property
    def _known(self) -> matching.Descriptors:
        return matching.describe(self.bundle.photos, self.bundle.thumbnails, [Orientation.UPRIGHT])

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.bundle.features, self.bundle.compared)

    @cached_property
    def _images(self) -> dict[str, list[str]]:
        return {str(whale): rows.tolist() for whale, rows in self.bundle.compared.groupby("Id")["Image"]}

    def _find(self, photos: Sequence[Image.Image]) -> list[Source]:
        """Return where the fluke lies on each of `photos`, and whether it is to be turned."""
        if self._boxes is None or not photos:
            return [Source(Path(), None, None)] * len(photos)
        whole, size = Source(Path(), WHOLE, None), self._boxes.size
        squares = self._pool.map(lambda photo: packed(photo.convert("L"), whole, size, size, 0.0, True), photos)
        taken = torch.from_numpy(np.stack(list(squares))).to(self._device)
        with self._computing:
            found = predict_batch(self._boxes, taken).cpu().numpy()
        own = np.array([photo.width / photo.height for photo in photos])
        shapes = aspects(self._boxes, found[:, :5], own)
        settings = self.bundle.about.pack
        return [
            Source(Path(), (x0, y0, x1, y1) if settings.crop else None, aspect, settings.turn and down > CERTAIN)
            for (x0, y0, x1, y1, _, down), aspect in zip(found.tolist(), shapes.tolist(), strict=True)
        ]


def _read(photo: Photo, mode: str) -> tuple[Fingerprint, Image.Image] | str:
    try:
        path = Path(photo.name)
        return fingerprint(path, photo.content), decode(path, content=photo.content).convert(mode)
    except WhaleidError as error:
        return str(error)
