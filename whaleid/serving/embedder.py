"""Embed photos with the networks of a bundle: decode the files, detect the flukes, crop, and embed."""

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
from whaleid.detection.network import UPSIDE_DOWN_THRESHOLD, original_aspects
from whaleid.images.crop import FULL_BOX, Box
from whaleid.images.decode import decode, read
from whaleid.images.fingerprint import Fingerprint, fingerprint
from whaleid.images.pack import Region, Shape, crop_region
from whaleid.model import checkpoint
from whaleid.model.device import pick_device
from whaleid.model.embedding import embed_batch, prepare
from whaleid.serving.bundle import Bundle, mismatch_error

BATCH = 16
"""Number of photos per batch. A large photo takes about 40 MB when decoded."""
T = TypeVar("T")


def batches(items: Sequence[T]) -> list[Sequence[T]]:
    """Split `items` into batches of `BATCH`, in order."""
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


class Query(NamedTuple):
    """A photo to identify."""

    name: str
    content: bytes | None = None  # content of the file; None to read it from the path `name`


class DecodedPhoto(NamedTuple):
    """A decoded photo."""

    name: str
    fingerprint: Fingerprint
    image: Image.Image


class EmbeddedPhoto(NamedTuple):
    """The embeddings of a photo."""

    name: str
    fingerprint: Fingerprint
    fluke: Box | None  # in fractions of the photo's width and height; None without detection
    embeddings: Mapping[str, npt.NDArray[np.float32]]  # (F, D), by network


class Embedder:
    """Embeds photos with the networks of a bundle, on the device that `pick_device` returns. Thread-safe.

    Raises:
        WhaleidError: a network cannot be read, or does not match the photos or embeddings of the bundle.
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
                raise mismatch_error(f"{name}.embeddings", f"{flips} flips of {dimensions} dimensions, not {expected}")
            prepare(network, self._device)
            self._networks[name] = network, mirrored
        self._boxes = None
        if bundle.boxes and (pack.crop or pack.turn):
            self._boxes = box_network.load(bundle.boxes, "boxes")
            prepare(self._boxes, self._device)
        self._pool = ThreadPoolExecutor(torch.get_num_threads())

    def read(self, queries: Sequence[Query]) -> list[DecodedPhoto | str]:
        """Read and decode photos. For a photo that cannot be read, return the message of the error."""
        return list(self._pool.map(partial(_read, mode=self._shape.mode), queries))

    def embed(self, photos: Sequence[DecodedPhoto]) -> list[EmbeddedPhoto]:
        """Detect the flukes of one or more photos, and embed them."""
        images = [photo.image for photo in photos]
        regions = self._detect_flukes(images)
        crops = list(self._pool.map(partial(crop_region, shape=self._shape), images, regions))
        inputs = torch.from_numpy(np.stack(crops)).to(self._device)  # (B, H, W, C)
        arrays = {}  # (F, B, D) by network
        for name, (network, mirrored) in self._networks.items():
            settings = self._settings[name]
            arrays[name] = embed_batch(network, inputs, mirrored, settings.zoom, settings.tilt).cpu().numpy()
        return [
            EmbeddedPhoto(photo.name, photo.fingerprint, region.box, {name: x[:, row] for name, x in arrays.items()})
            for row, (photo, region) in enumerate(zip(photos, regions, strict=True))
        ]

    def _detect_flukes(self, images: Sequence[Image.Image]) -> list[Region]:
        """Return the region of each image to crop, and whether to rotate the image by 180 degrees."""
        if self._boxes is None:
            return [Region()] * len(images)
        square = Shape(self._boxes.size, self._boxes.size, stretch=True)
        squares = list(self._pool.map(lambda image: crop_region(image, Region(FULL_BOX), square), images))
        boxes = box_network.predict(self._boxes, torch.from_numpy(np.stack(squares)).to(self._device)).cpu().numpy()
        current = np.array([image.width / image.height for image in images])
        original = original_aspects(self._boxes, boxes[:, :5], current)
        return [
            Region(
                (x0, y0, x1, y1) if self._pack.crop else None,
                aspect,
                self._pack.turn and upside_down > UPSIDE_DOWN_THRESHOLD,
            )
            for (x0, y0, x1, y1, _, upside_down), aspect in zip(boxes.tolist(), original.tolist(), strict=True)
        ]


def _read(query: Query, mode: str) -> DecodedPhoto | str:
    path = Path(query.name)
    try:
        content = read(path) if query.content is None else query.content
        return DecodedPhoto(query.name, fingerprint(path, content), decode(path, content=content).convert(mode))
    except WhaleidError as error:
        return str(error)
