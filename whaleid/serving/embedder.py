"""From the bytes of photos' files to embeddings, by the networks of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from whaleid.core.errors import WhaleidError
from whaleid.detection import network as box_network
from whaleid.detection.network import CERTAIN, aspects
from whaleid.images.crop import WHOLE, Box
from whaleid.images.decode import decode, read
from whaleid.images.fingerprint import Fingerprint, fingerprint
from whaleid.images.pack import Region, Shape, crop_region
from whaleid.model import checkpoint
from whaleid.model.device import pick_device
from whaleid.model.embedding import embed_batch, prepare
from whaleid.serving.bundle import Bundle, misfit

BATCH = 16
"""Photos to embed at a time: large ones need some 40 MB each."""
T = TypeVar("T")


def batches(items: Sequence[T]) -> list[Sequence[T]]:
    """Return `items` in order, `BATCH` at a time."""
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


class Query(NamedTuple):
    """A photo to identify."""

    name: str
    content: bytes | None = None  # of its file; None if `name` is its path


class Decoded(NamedTuple):
    """A photo that was read."""

    name: str
    fingerprint: Fingerprint
    image: Image.Image


class Embedded(NamedTuple):
    """A photo as the networks see it."""

    name: str
    fingerprint: Fingerprint
    fluke: Box | None  # as fractions of the photo's width and height; None if none was looked for
    embeddings: Mapping[str, npt.NDArray[np.float32]]  # (F, D) by network


class Embedder:
    """The networks of a bundle, on the device of `pick_device`; thread-safe.

    Raises:
        WhaleidError: a network cannot be read, or does not fit the bundle's photos or embeddings.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._settings = bundle.about.networks
        self._pack = pack = bundle.about.pack
        self._shape = Shape(pack.width, pack.height, "L" if pack.grey else "RGB", pack.margin, pack.stretch)
        self._device = pick_device()
        self._networks = {}
        for name, content in bundle.networks.items():
            network, description = checkpoint.load(content, name)
            description.check_photos((pack.height, pack.width, len(self._shape.mode)), name)
            mirrored = description.flip != "off"
            flips, _, dimensions = bundle.features[name].embeddings.shape
            if (flips, dimensions) != (1 + mirrored, network.embedding_dim):
                expected = f"{1 + mirrored} of {network.embedding_dim}"
                raise misfit(f"{name}.embeddings", f"{flips} flips of {dimensions} dimensions, not {expected}")
            prepare(network, self._device)
            self._networks[name] = network, mirrored
        self._boxes = None
        if bundle.boxes and (pack.crop or pack.turn):
            self._boxes = box_network.load(bundle.boxes, "boxes")
            prepare(self._boxes, self._device)
        self._pool = ThreadPoolExecutor(torch.get_num_threads())

    def read(self, queries: Sequence[Query]) -> list[Decoded | str]:
        """Read and decode photos; one that cannot be read gets an error text."""
        return list(self._pool.map(partial(_read, mode=self._shape.mode), queries))

    def embed(self, photos: Sequence[Decoded]) -> list[Embedded]:
        """Find the flukes of photos, one or more, and embed them."""
        images = [photo.image for photo in photos]
        regions = self._find_flukes(images)
        packed = np.stack(
            list(self._pool.map(partial(crop_region, shape=self._shape), images, regions))
        )  # (B, H, W, C)
        inputs = torch.from_numpy(packed).to(self._device)
        arrays = {}  # (F, B, D)
        for name, (network, mirrored) in self._networks.items():
            settings = self._settings[name]
            arrays[name] = embed_batch(network, inputs, mirrored, settings.zoom, settings.tilt).cpu().numpy()
        return [
            Embedded(photo.name, photo.fingerprint, region.box, {name: each[:, row] for name, each in arrays.items()})
            for row, (photo, region) in enumerate(zip(photos, regions, strict=True))
        ]

    def _find_flukes(self, images: Sequence[Image.Image]) -> list[Region]:
        """Return where the fluke lies on each of `images`, and whether the photo is to be turned."""
        if self._boxes is None:
            return [Region()] * len(images)
        square = Shape(self._boxes.size, self._boxes.size, stretch=True)
        squares = list(self._pool.map(lambda image: crop_region(image, Region(WHOLE), square), images))
        boxes = box_network.predict(self._boxes, torch.from_numpy(np.stack(squares)).to(self._device)).cpu().numpy()
        own = np.array([image.width / image.height for image in images])
        aspect = aspects(self._boxes, boxes[:, :5], own)
        return [
            Region((x0, y0, x1, y1) if self._pack.crop else None, width_by_height, self._pack.turn and turned > CERTAIN)
            for (x0, y0, x1, y1, _, turned), width_by_height in zip(boxes.tolist(), aspect.tolist(), strict=True)
        ]


def _read(query: Query, mode: str) -> Decoded | str:
    path = Path(query.name)
    try:
        content = read(path) if query.content is None else query.content
        return Decoded(query.name, fingerprint(path, content), decode(path, content=content).convert(mode))
    except WhaleidError as error:
        return str(error)
