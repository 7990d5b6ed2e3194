"""A bundle: a model as a folder of files, independent of the pipeline.

* `bundle.json`: the description (`about.About`)
* `NAME.safetensors`: the checkpoint of a network; `boxes.safetensors`: the checkpoint of the fluke detector
* `photos.csv`: the labelled photos
* `photos.thumbnails.safetensors`: their thumbnails, to detect duplicates
* `photos.pictures.safetensors`: previews of the photos of the gallery, for HTML pages
* `NAME.embeddings.safetensors`: embeddings of the photos of the gallery, and class centres, by a network
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from whaleid.catalog.checks import FORMULA, has_unsafe_characters
from whaleid.core.errors import WhaleidError
from whaleid.core.features import Features
from whaleid.core.files import read_csv, write_csv
from whaleid.images.fingerprint import SIDE, Thumbnails
from whaleid.model import tensors
from whaleid.serving import about as description
from whaleid.serving.about import ABOUT, REMEDY, About

PHOTOS, BOXES = "photos.csv", "boxes.safetensors"
THUMBNAILS, PICTURES = "photos.thumbnails.safetensors", "photos.pictures.safetensors"
COLUMNS = ["Image", "Id", "sha256", "width", "height", "phash", "compared"]
"""Columns of `photos.csv`."""
WIDTH = 240
"""Width of a preview in pixels: enough to compare flukes by eye."""


class _Arrays(tensors.Header):
    kind: Literal["bundle"] = "bundle"
    classes: tuple[str, ...] = ()  # the classes of the centres, in files of embeddings


@dataclass(frozen=True)
class Bundle:
    """A model and its labelled photos."""

    about: About
    photos: pd.DataFrame
    """All labelled photos, sorted by label and name, with `COLUMNS`; all are compared with queries to detect
    duplicates. `compared` is 1 for the photos of the gallery, whose embeddings are compared with queries."""
    thumbnails: Thumbnails
    """(N, SIDE, SIDE) uint16 thumbnails of `photos`."""
    features: Mapping[str, Features]
    """Features of the photos that are `compared`, by network."""
    networks: Mapping[str, bytes]
    """The checkpoint of each network, by name."""
    boxes: bytes
    """The checkpoint of the fluke detector; empty if there is none."""

    @property
    def compared(self) -> pd.DataFrame:
        """The photos of the gallery, with the columns `Image,Id`."""
        return self.photos.loc[self.photos["compared"] == 1, ["Image", "Id"]]


def write(bundle: Bundle, previews: Mapping[str, bytes], folder: Path) -> None:
    """Write a bundle to an empty folder. `previews` has the JPEG file of each photo that is `compared`, by Image."""
    write_csv(bundle.photos[COLUMNS], folder / PHOTOS)
    files = {THUMBNAILS: tensors.save({"thumbnails": torch.from_numpy(bundle.thumbnails)}, _Arrays())}
    images = bundle.compared["Image"].tolist()
    as_tensors = {image: torch.from_numpy(np.frombuffer(previews[image], np.uint8).copy()) for image in images}
    files[PICTURES] = tensors.save(as_tensors, _Arrays())
    files[BOXES] = bundle.boxes
    for network, features in bundle.features.items():
        files[f"{network}.safetensors"] = bundle.networks[network]
        arrays = {"embeddings": features.select(images), "centres": features.centres}
        header = _Arrays(classes=tuple(features.classes.tolist()))
        content = tensors.save({name: torch.from_numpy(array) for name, array in arrays.items()}, header)
        files[f"{network}.embeddings.safetensors"] = content
    for name, content in files.items():
        (folder / name).write_bytes(content)
    write_description(bundle.about, folder)


def write_description(about: About, folder: Path) -> None:
    """Write `about` to `folder`, with the digests of the files in it."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != ABOUT
    }
    (folder / ABOUT).write_text(about.with_digests(files).model_dump_json(indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> Bundle:
    """Read a bundle. No content is executed as code: there are no pickles.

    Raises:
        WhaleidError: the folder is not a bundle, is incomplete or damaged, or its files are inconsistent.
    """
    about = description.read(folder)
    _content(folder, about, PHOTOS)
    photos = read_photos(folder / PHOTOS)
    images = photos.loc[photos["compared"] == 1, "Image"].tolist()
    features = {}
    for network in about.networks:
        name = f"{network}.embeddings.safetensors"
        features[network] = load_features(_content(folder, about, name), str(folder / name), images)
    arrays, _ = tensors.load(_content(folder, about, THUMBNAILS), str(folder / THUMBNAILS), _Arrays, REMEDY)
    thumbnails = arrays["thumbnails"].numpy() if "thumbnails" in arrays else np.empty(0, np.uint16)
    if thumbnails.shape != (len(photos), SIDE, SIDE) or thumbnails.dtype != np.uint16:
        raise mismatch_error(str(folder / THUMBNAILS), f"expected thumbnails of {len(photos)} photos")
    networks = {network: _content(folder, about, f"{network}.safetensors") for network in about.networks}
    return Bundle(about, photos, thumbnails, features, networks, _content(folder, about, BOXES))


def pictures(folder: Path) -> dict[str, bytes]:
    """Read the previews of the bundle in `folder`: the JPEG file of each photo that is `compared`, by Image.

    Raises:
        WhaleidError: the folder is not a bundle, or the previews are missing or damaged.
    """
    return load_pictures(_content(folder, description.read(folder), PICTURES), str(folder / PICTURES))


def _content(folder: Path, about: About, name: str) -> bytes:
    """Read a file of the bundle and verify its digest.

    Raises:
        WhaleidError: the file is missing, or its digest is not the one in the description.
    """
    path = folder / name
    content = path.read_bytes() if path.is_file() else b""
    if about.files.get(name) != hashlib.sha256(content).hexdigest():
        raise WhaleidError(f"{folder} is incomplete: {name} is missing or damaged. Copy the folder again.")
    return content


def read_photos(path: Path) -> pd.DataFrame:
    """Read `photos.csv`, a table with `COLUMNS`.

    Raises:
        WhaleidError: columns are missing or not integers, names or labels contain unsafe characters or formulas, names
            are repeated, or no photo is `compared`.
    """
    try:
        photos = read_csv(path)[COLUMNS]
        photos = photos.astype(dict.fromkeys(("width", "height", "compared"), int))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise mismatch_error(str(path), str(error)) from None
    names = [*photos["Image"], *photos["Id"]]
    if invalid := [
        ascii(name) for name in names if not name or has_unsafe_characters(name) or name.startswith(FORMULA)
    ]:
        raise mismatch_error(str(path), f"invalid name or label {invalid[0]}")
    if photos["Image"].duplicated().any() or not (photos["compared"] == 1).any():
        raise mismatch_error(str(path), "photos are repeated, or none is compared")
    return photos


def load_features(content: bytes, name: str, images: Sequence[str]) -> Features:
    """Parse `content`, a file of embeddings, as the features of `images`. `name` is the file's name in errors.

    Raises:
        WhaleidError: `content` is not a file of embeddings, or has another number of photos.
    """
    arrays, header = tensors.load(content, name, _Arrays, REMEDY)
    if arrays.keys() != {"embeddings", "centres"} or any(array.dtype != torch.float32 for array in arrays.values()):
        raise mismatch_error(name, "expected the float32 arrays embeddings and centres")
    rows = {image: row for row, image in enumerate(images)}
    classes = np.array(header.classes, dtype=np.str_)
    features = Features(rows, arrays["embeddings"].numpy(), arrays["centres"].numpy(), classes)
    if problem := features.problem(len(images)):
        raise mismatch_error(name, problem)
    return features


def load_pictures(content: bytes, name: str) -> dict[str, bytes]:
    """Parse `content`, a file of previews, as JPEG files by Image. `name` is the file's name in errors.

    Raises:
        WhaleidError: `content` is not a file of previews.
    """
    arrays, _ = tensors.load(content, name, _Arrays, REMEDY)
    return {image: array.numpy().tobytes() for image, array in arrays.items()}


def mismatch_error(name: str, reason: str) -> WhaleidError:
    """Return the error that the file `name` is inconsistent with the other files of a bundle."""
    return WhaleidError(f"{name} does not match the bundle ({reason}). {REMEDY}")
