"""Photos that a catalogue has gained since a bundle was made: known at once, without training."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import platformdirs
import safetensors.numpy
from filelock import FileLock

from whaleid.catalog.layout import read_labels
from whaleid.core.errors import InputProblems, require_all
from whaleid.core.files import replacing
from whaleid.core.labels import NEW_WHALE
from whaleid.core.log import progress
from whaleid.duplicates.hashing import perceptual_hashes, to_hex
from whaleid.images.fingerprint import Thumbnails, file_metadata, fingerprints, thumbnails
from whaleid.serving.bundle import COLUMNS, Bundle
from whaleid.serving.embedder import Embedder, Query, batches
from whaleid.serving.recogniser import Recogniser

Embeddings = Mapping[str, npt.NDArray[np.float32]]
"""(F, D) of a photo, by network."""


def known(recogniser: Recogniser, catalogue: Path) -> tuple[Recogniser, dict[str, Path]]:
    """Return a recogniser that also knows the labelled photos of `catalogue` that its bundle lacks, and their files.

    They include photos whose label differs from the bundle's: that of the catalogue counts. Embeddings are cached in
    the user's cache folder, a folder a bundle.

    Raises:
        WhaleidError: train.csv of the catalogue cannot be read, or photos that it names are missing or damaged.
    """
    labelled = read_labels(catalogue)
    bundle = recogniser.bundle
    bundled = bundle.photos.set_index("Image")
    bundled_labels = labelled["Image"].map(bundled["Id"])
    if len(labelled) and bundled_labels.isna().all():
        print(f"The model was trained on no photo of {catalogue}; its whales are named as well.", file=sys.stderr)
    photos = labelled.loc[bundled_labels != labelled["Id"], ["Image", "Id"]]
    if photos.empty:
        return recogniser, {}
    files = {image: catalogue / "train" / image for image in photos["Image"]}
    remedy = "Put them back, or remove their rows."
    what = f"Photos of {catalogue / 'train.csv'} cannot be used"
    prints = require_all(fingerprints([*files.values()]), what, remedy)
    photos = photos.reset_index(drop=True).join(file_metadata(prints))
    bundled_hashes = photos["Image"].map(bundled["sha256"])
    others = photos.loc[bundled_hashes.notna() & (bundled_hashes != photos["sha256"]), "Image"]
    if len(others):
        remedy = "Rename the photos, or make the model anew with `dvc repro`."
        what = "Photos by whose names the model knows other pictures, with other labels"
        raise InputProblems(what, [str(files[image]) for image in others], remedy)
    cache = Path(platformdirs.user_cache_dir("whaleid")) / f"embeddings-{bundle.about.digest[:16]}"
    places = [cache / f"{sha256}.safetensors" for sha256 in photos["sha256"]]
    embeddings = _embed(recogniser.embedder, [*files.values()], places, [*bundle.networks])
    return Recogniser(_extended(bundle, photos, thumbnails(prints), embeddings), recogniser.embedder), files


def _embed(
    embedder: Embedder, files: Sequence[Path], places: Sequence[Path], networks: Sequence[str]
) -> list[Embeddings]:
    """Return the embeddings of each of `files`, from the cache at `places`, or computed and cached."""
    embeddings = [load(place, networks) for place in places]
    parts = batches([row for row, each in enumerate(embeddings) if each is None])
    writable = True
    for rows in progress(parts, "photos added since, in batches", len(parts)):
        photos = embedder.read([Query(str(files[row])) for row in rows])
        what = "Photos that have changed since they were checked"
        readable = require_all(photos, what, "Run the same command again.")
        for row, photo in zip(rows, embedder.embed(readable), strict=True):
            embeddings[row] = photo.embeddings
            writable = writable and save(places[row], photo.embeddings)
    return [each for each in embeddings if each is not None]


def save(place: Path, embeddings: Embeddings) -> bool:
    """Cache the embeddings of a photo at `place`; if that fails, print a warning and return False."""
    try:
        with FileLock(place.with_name("lock")), replacing(place) as temporary:
            contiguous = {name: np.ascontiguousarray(each) for name, each in embeddings.items()}
            temporary.write_bytes(safetensors.numpy.save(contiguous))
    except OSError as error:
        print(f"{place.parent}: embeddings could not be cached ({error.strerror}).", file=sys.stderr)
        return False
    return True


def load(place: Path, networks: Sequence[str]) -> Embeddings | None:
    """Return the embeddings cached at `place`; None if there is no whole file for these `networks`."""
    try:
        embeddings = safetensors.numpy.load(place.read_bytes())
    except (OSError, safetensors.SafetensorError):
        return None
    return embeddings if embeddings.keys() == {*networks} else None


def _extended(bundle: Bundle, photos: pd.DataFrame, small: Thumbnails, embeddings: Sequence[Embeddings]) -> Bundle:
    """Return `bundle` with further labelled `photos` and their thumbnails, which replace photos of the same name.

    Photos of `new_whale` count as duplicates only.
    """
    compared = (photos["Id"] != NEW_WHALE).astype(int)
    photos = photos.assign(phash=to_hex(perceptual_hashes(small)), compared=compared)
    kept = ~bundle.photos["Image"].isin(photos["Image"])
    merged = pd.concat([bundle.photos[kept], photos[COLUMNS]], ignore_index=True)
    order = np.lexsort((merged["Image"], merged["Id"]))
    features = {}
    for network, each in bundle.features.items():
        count = each.embeddings.shape[1]
        new = {image: count + row for row, image in enumerate(photos["Image"])}
        added = np.stack([one[network] for one in embeddings], axis=1)
        together = np.concatenate([each.embeddings, added], axis=1)
        features[network] = replace(each, rows={**each.rows, **new}, embeddings=together)
    return replace(
        bundle,
        photos=merged.iloc[order].reset_index(drop=True),
        thumbnails=np.concatenate([bundle.thumbnails[kept.to_numpy()], small])[order],
        features=features,
    )
