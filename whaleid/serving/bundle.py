"""A bundle: a model as a folder of safetensors files that needs no pipeline around it.

`bundle.json` describes it (`about`). `NAME.safetensors` is the checkpoint of a network, `boxes.safetensors` that of the
network that finds flukes. `photos.csv` lists the labelled photos; `photos.thumbnails.safetensors` holds what duplicates
are found by, `photos.pictures.safetensors` small pictures for pages, `NAME.embeddings.safetensors` their embeddings.
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
WIDTH = 240
"""Pixels of a picture's width: enough to compare flukes by eye."""


class _Arrays(tensors.Header):
    kind: Literal["bundle"] = "bundle"
    classes: tuple[str, ...] = ()  # of embeddings


@dataclass(frozen=True)
class Bundle:
    """A model, and the labelled photos that it compares queries with."""

    about: About
    photos: pd.DataFrame
    """`COLUMNS`, by whale: all labelled photos, of which duplicates are looked for;
    `compared` is 1 for those that queries are compared with by embedding."""
    thumbnails: Thumbnails
    """Of `photos`, (N, SIDE, SIDE)."""
    features: Mapping[str, Features]
    """By network, of the photos that are `compared`."""
    networks: Mapping[str, bytes]
    """The checkpoint of each network."""
    boxes: bytes
    """The checkpoint of the network that finds flukes; empty if there is none."""

    @property
    def compared(self) -> pd.DataFrame:
        """The photos that queries are compared with, `Image,Id`."""
        return self.photos.loc[self.photos["compared"] == 1, ["Image", "Id"]]


def write(bundle: Bundle, pictures: Mapping[str, bytes], folder: Path) -> None:
    """Write a bundle into an empty folder, with `pictures`, small JPEG files of the photos that are `compared`."""
    write_csv(bundle.photos[COLUMNS], folder / PHOTOS)
    files = {THUMBNAILS: tensors.save({"thumbnails": torch.from_numpy(bundle.thumbnails)}, _Arrays())}
    images = bundle.compared["Image"].tolist()
    as_tensors = {image: torch.from_numpy(np.frombuffer(pictures[image], np.uint8).copy()) for image in images}
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
    seal(bundle.about, folder)


def seal(about: About, folder: Path) -> None:
    """Write the description of a bundle with the digests of the files in `folder`."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != ABOUT
    }
    (folder / ABOUT).write_text(about.sealed(files).model_dump_json(indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> Bundle:
    """Read what `write` wrote; nothing in it is run as code.

    Raises:
        WhaleidError: the folder is no bundle, was not copied whole, is damaged, or its files do not fit each other.
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
        raise misfit(str(folder / THUMBNAILS), f"no thumbnails of {len(photos)} photos")
    networks = {network: _content(folder, about, f"{network}.safetensors") for network in about.networks}
    return Bundle(about, photos, thumbnails, features, networks, _content(folder, about, BOXES))


def pictures(folder: Path) -> dict[str, bytes]:
    """Return the small JPEG file of each photo that is compared in the bundle `folder`, by its Image.

    Raises:
        WhaleidError: the folder is no bundle, or the pictures are missing or damaged.
    """
    return load_pictures(_content(folder, description.read(folder), PICTURES), str(folder / PICTURES))


def _content(folder: Path, about: About, name: str) -> bytes:
    """Return the content of a file of the bundle.

    Raises:
        WhaleidError: it is not the content that the bundle was made with.
    """
    path = folder / name
    content = path.read_bytes() if path.is_file() else b""
    if about.files.get(name) != hashlib.sha256(content).hexdigest():
        raise WhaleidError(f"{folder} is not whole: {name} is missing or damaged. Copy the folder again.")
    return content


def read_photos(path: Path) -> pd.DataFrame:
    """Read the table `COLUMNS` of labelled photos, whose names and labels are fit to be written and displayed.

    Raises:
        WhaleidError: it is no such table.
    """
    try:
        photos = read_csv(path)[COLUMNS]
        photos = photos.astype(dict.fromkeys(("width", "height", "compared"), int))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise misfit(str(path), str(error)) from None
    names = [*photos["Image"], *photos["Id"]]
    if odd := [ascii(name) for name in names if not name or has_unsafe_characters(name) or name.startswith(FORMULA)]:
        raise misfit(str(path), odd[0])
    if photos["Image"].duplicated().any() or not (photos["compared"] == 1).any():
        raise misfit(str(path), "photos twice, or none to compare with")
    return photos


def load_features(content: bytes, name: str, images: Sequence[str]) -> Features:
    """Return the features of `images` that the file `name` holds.

    Raises:
        WhaleidError: `content` is no such file, or one of other photos.
    """
    arrays, header = tensors.load(content, name, _Arrays, REMEDY)
    if arrays.keys() != {"embeddings", "centres"} or any(each.dtype != torch.float32 for each in arrays.values()):
        raise misfit(name, "it lacks embeddings and centres as float32")
    rows = {image: row for row, image in enumerate(images)}
    classes = np.array(header.classes, dtype=np.str_)
    features = Features(rows, arrays["embeddings"].numpy(), arrays["centres"].numpy(), classes)
    if problem := features.problem(len(images)):
        raise misfit(name, problem)
    return features


def load_pictures(content: bytes, name: str) -> dict[str, bytes]:
    """Return the pictures that the file `name` holds, by Image.

    Raises:
        WhaleidError: `content` is no such file.
    """
    read, _ = tensors.load(content, name, _Arrays, REMEDY)
    return {image: picture.numpy().tobytes() for image, picture in read.items()}


def misfit(name: str, reason: str) -> WhaleidError:
    """Return the error that the file `name` does not fit the other files of a bundle."""
    return WhaleidError(f"{name} does not fit the bundle ({reason}). {REMEDY}")
