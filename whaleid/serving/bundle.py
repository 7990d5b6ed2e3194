"""The folder that a model is handed on in: networks, embeddings of labelled photos, and how scores become names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, ValidationError

from whaleid.catalog.checks import FORMULA, is_file, unwritable
from whaleid.config import Dedup, Embedding, Pack, Probability, Section
from whaleid.core import arrays
from whaleid.core.errors import WhaleidError
from whaleid.core.features import KINDS, Features
from whaleid.core.files import read_csv, write_csv
from whaleid.images.fingerprint import SIDE, Thumbnails

ABOUT = "bundle.json"
PHOTOS, THUMBNAILS, PICTURES, BOXES = "photos.csv", "thumbnails.npy", "pictures.npz", "boxes.pt"
WIDTH = 240
"""Pixels of a picture: wide enough for the eye to compare flukes."""
COLUMNS = ["Image", "Id", "sha256", "width", "height", "compared"]


Name = Annotated[str, Field(pattern=r"^[\w-]+$")]
Network = Annotated[str, Field(pattern=r"^(final/)?[\w-]+$")]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Calibrated(Section):
    """How probabilities are calibrated: `calibration.Calibration`."""

    slope: Annotated[Number, Field(gt=0)]
    intercept: Number


class Decision(Section):
    """How scores become names."""

    weights: Annotated[dict[str, Number], Field(min_length=1)]
    bias: Number
    calibration: Calibrated
    threshold_auto: Probability
    thresholds: list[Number] = Field(default_factory=list)


class About(Section):
    """What a bundle says of itself."""

    format: Literal[1] = 1
    variant: Name
    timm: bool  # whether its networks are built by timm
    calibrated_by: Name  # the prediction whose weights, calibration and threshold were found on validation
    threshold: Probability
    decision: Decision  # as `decision.from_json` reads it
    dedup: Dedup
    pack: Pack
    # by name, which began with final/ in a former version; a network's files are called by the last part of it
    networks: Annotated[dict[Network, Embedding], Field(min_length=1)]
    figures: dict[str, float]  # of `calibrated_by` at this threshold, as in `paths.FIGURES`
    validation: str  # a digest of the photos that they were measured on
    files: dict[str, str] = Field(default_factory=dict)  # the SHA-256 of each, by name
    digest: str = ""  # of all of this, and so of the files


@dataclass(frozen=True)
class Bundle:
    """A model, and the labelled photos that it compares others with."""

    about: About
    photos: pd.DataFrame
    """`Image,Id,sha256,width,height,compared`, those of a whale together: all labelled photos, of which duplicates are
    looked for; `compared` is 1 for those that others are compared with by embedding."""
    thumbnails: Thumbnails
    """Of `photos`, (N, SIDE, SIDE)."""
    features: Mapping[str, Features]
    """By network, of the photos that are `compared`."""
    networks: Mapping[str, bytes]
    """The checkpoint of each network."""
    boxes: bytes
    """The checkpoint of the network that finds flukes; empty where there is none."""

    @property
    def compared(self) -> pd.DataFrame:
        """The photos that others are compared with, `Image,Id`."""
        return self.photos.loc[self.photos["compared"] == 1, ["Image", "Id"]]


def write(bundle: Bundle, pictures: Mapping[str, bytes], folder: Path) -> None:
    """Write a bundle into an empty folder, with small `pictures`, JPEG files, of the photos that are `compared`."""
    write_csv(bundle.photos[COLUMNS], folder / PHOTOS)
    np.save(folder / THUMBNAILS, bundle.thumbnails)
    names = bundle.compared["Image"].tolist()
    ends = np.cumsum([0, *(len(pictures[name]) for name in names)])
    joined = np.frombuffer(b"".join(pictures[name] for name in names), dtype=np.uint8)
    np.savez(folder / PICTURES, ends=ends, pictures=joined)
    (folder / BOXES).write_bytes(bundle.boxes)
    for network, features in bundle.features.items():
        (folder / f"{Path(network).name}.pt").write_bytes(bundle.networks[network])
        np.savez(
            folder / f"{Path(network).name}.npz",
            embeddings=features.select(names),
            centres=features.centres,
            classes=features.classes,
        )
    seal(bundle.about, folder)


def seal(about: About, folder: Path) -> None:
    """Write what a bundle says of itself beside its files, and which files these are."""
    digests = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.name != ABOUT}
    said = about.model_copy(update={"files": digests, "digest": ""})
    said = said.model_copy(update={"digest": hashlib.sha256(said.model_dump_json().encode()).hexdigest()})
    (folder / ABOUT).write_text(said.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(folder: Path) -> Bundle:
    """Read what `write` wrote. Nothing in it is run as code.

    Raises:
        WhaleidError: the folder is not there, is no bundle, was not copied whole, has been damaged or changed since, or
            its files do not go together.
    """
    said = about(folder)
    amiss = [
        name
        for name, sha256 in said.files.items()
        if Path(name).name != name or not is_file(folder / name) or _sha256(folder / name) != sha256
    ]
    needed = {PHOTOS, THUMBNAILS, PICTURES, BOXES}
    needed |= {f"{Path(name).name}{suffix}" for name in said.networks for suffix in (".pt", ".npz")}
    if amiss := sorted({*amiss, *(needed - said.files.keys())}):
        raise WhaleidError(f"{folder} is not whole: {', '.join(amiss)} is missing or damaged. Copy the folder again.")
    photos = _photos(folder)
    thumbnails = np.array(arrays.mapped(folder / THUMBNAILS, np.uint16, 3))
    names = photos.loc[photos["compared"] == 1, "Image"].tolist()
    features = {network: _features(folder / f"{Path(network).name}.npz", names) for network in said.networks}
    if thumbnails.shape != (len(photos), SIDE, SIDE):
        raise _torn(folder, f"{THUMBNAILS} and {PHOTOS}")
    networks = {network: (folder / f"{Path(network).name}.pt").read_bytes() for network in said.networks}
    return Bundle(said, photos, thumbnails, features, networks, (folder / BOXES).read_bytes())


def about(folder: Path) -> About:
    """Read what the bundle `folder` says of itself.

    Raises:
        WhaleidError: it is no bundle, or one of another version of whaleid.
    """
    try:
        return About.model_validate_json((folder / ABOUT).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise WhaleidError(
            f"{folder} is no bundle: it has no {ABOUT}. In a project, `dvc repro` makes models/final.bundle; elsewhere "
            "name a bundle by --model, or a registered model: models:/whaleid@champion."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WhaleidError(
            f"{folder / ABOUT} cannot be used: {where}: {first['msg']}. It was made by another version of whaleid, or "
            "changed: make it again with `whaleid bundle`."
        ) from None


def _photos(folder: Path) -> pd.DataFrame:
    """Return the labelled photos of a bundle, whose names and labels are fit to be written and shown."""
    try:
        photos = read_csv(folder / PHOTOS)[COLUMNS]
        photos = photos.astype(dict.fromkeys(("width", "height", "compared"), int))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise _torn(folder, f"{PHOTOS}: {error}") from None
    names = [*photos["Image"], *photos["Id"]]
    if odd := [ascii(name) for name in names if not name or unwritable(name) or name.startswith(FORMULA)]:
        raise _torn(folder, f"{PHOTOS}: {odd[0]}")
    if photos["Image"].duplicated().any() or not (photos["compared"] == 1).any():
        raise _torn(folder, f"{PHOTOS}: photos twice, or none to compare with")
    return photos


def _features(path: Path, names: list[str]) -> Features:
    features = Features({name: row for row, name in enumerate(names)}, **arrays.read(path, KINDS))
    if amiss := features.problem(len(names)):
        raise _torn(path.parent, f"{path.name}: {amiss}")
    return features


def _torn(folder: Path, what: str) -> WhaleidError:
    return WhaleidError(f"{folder} holds files that do not go together ({what}). Copy or make it again.")


def pictures(folder: Path) -> dict[str, bytes]:
    """Return the small JPEG file of each photo that is compared in the bundle `folder`, by its Image.

    Raises:
        WhaleidError: they are not whole, or not those of the photos.
    """
    photos = _photos(folder)
    names = photos.loc[photos["compared"] == 1, "Image"]
    found = arrays.read(folder / PICTURES, {"pictures": "u", "ends": "i"})
    content, ends = found["pictures"].tobytes(), found["ends"].ravel().tolist()
    if len(ends) != len(names) + 1 or ends[0] != 0 or ends[-1] != len(content) or sorted(ends) != ends:
        raise _torn(folder, PICTURES)
    return {name: content[start:end] for name, (start, end) in zip(names, pairwise(ends), strict=True)}


def extended(
    bundle: Bundle, photos: pd.DataFrame, thumbnails: Thumbnails, embeddings: Mapping[str, npt.NDArray[np.float32]]
) -> Bundle:
    """Return `bundle` with further labelled `photos`, as `Bundle.photos`, and what its networks make of them.

    They take the place of photos of their names. `thumbnails` are (M, SIDE, SIDE), `embeddings` (V, M, D) by network.
    """
    kept = ~bundle.photos["Image"].isin(photos["Image"])
    every = pd.concat([bundle.photos[kept], photos[COLUMNS]], ignore_index=True)
    order = np.lexsort((every["Image"], every["Id"]))
    features = {}
    for network, known in bundle.features.items():
        new = {name: known.embeddings.shape[1] + row for row, name in enumerate(photos["Image"])}
        together = np.concatenate([known.embeddings, embeddings[network]], axis=1)
        features[network] = replace(known, rows={**known.rows, **new}, embeddings=together)
    return replace(
        bundle,
        photos=every.iloc[order].reset_index(drop=True),
        thumbnails=np.concatenate([bundle.thumbnails[kept.to_numpy()], thumbnails])[order],
        features=features,
    )
