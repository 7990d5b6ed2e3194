"""Extend a bundle with photos that were added to the catalogue after it was built, without training."""

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

from whaleid.catalog.layout import read_labels
from whaleid.core.errors import InputProblems, require_all
from whaleid.core.files import replacing
from whaleid.core.labels import NEW_WHALE
from whaleid.core.locks import locked
from whaleid.core.log import progress
from whaleid.duplicates.hashing import perceptual_hashes, to_hex
from whaleid.images.fingerprint import Thumbnails, file_metadata, fingerprints, thumbnails
from whaleid.serving.bundle import COLUMNS, Bundle
from whaleid.serving.embedder import Embedder, Query, batches
from whaleid.serving.recogniser import Recogniser

Embeddings = Mapping[str, npt.NDArray[np.float32]]
"""Embeddings (F, D) of a photo, by network."""


def extend(recogniser: Recogniser, catalogue: Path) -> tuple[Recogniser, dict[str, Path]]:
    """Add the labelled photos of `catalogue` that are not in the bundle of `recogniser`.

    Photos whose label differs from the bundle are also added, with the label of the catalogue. Embeddings are cached
    in the user's cache folder, in one folder per bundle.

    Returns:
        A recogniser with the added photos, and their paths by Image.

    Raises:
        WhaleidError: train.csv of the catalogue cannot be read, photos in it are missing or damaged, or a photo with a
            changed label is another picture than the photo of the same name in the bundle.
    """
    labelled = read_labels(catalogue)
    bundle = recogniser.bundle
    bundled = bundle.photos.set_index("Image")
    bundled_labels = labelled["Image"].map(bundled["Id"])
    if len(labelled) and bundled_labels.isna().all():
        message = (
            f"The model was not trained on photos of {catalogue}. It can also identify the whales of this catalogue, "
            "by comparison with their photos."
        )
        print(message, file=sys.stderr)
    photos = labelled.loc[bundled_labels != labelled["Id"], ["Image", "Id"]]
    if photos.empty:
        return recogniser, {}
    files = {image: catalogue / "train" / image for image in photos["Image"]}
    remedy = "Put these files back into train/, or remove their rows from train.csv."
    problem = f"Photos in {catalogue / 'train.csv'} that cannot be used"
    computed = require_all(fingerprints([*files.values()]), problem, remedy)
    photos = photos.reset_index(drop=True).join(file_metadata(computed))
    bundled_hashes = photos["Image"].map(bundled["sha256"])
    replaced = photos.loc[bundled_hashes.notna() & (bundled_hashes != photos["sha256"]), "Image"]
    if len(replaced):
        remedy = "Rename these photos, also in train.csv, or run `dvc repro` to rebuild the model."
        problem = "Photos that have the name of another photo in the model, and another label"
        raise InputProblems(problem, [str(files[image]) for image in replaced], remedy)
    cache = Path(platformdirs.user_cache_dir("whaleid")) / f"embeddings-{bundle.about.digest[:16]}"
    cached = [cache / f"{sha256}.safetensors" for sha256 in photos["sha256"]]
    embeddings = _embed(recogniser.embedder, [*files.values()], cached, [*bundle.networks])
    return Recogniser(_merge(bundle, photos, thumbnails(computed), embeddings), recogniser.embedder), files


def _embed(
    embedder: Embedder, files: Sequence[Path], cached: Sequence[Path], networks: Sequence[str]
) -> list[Embeddings]:
    """Return the embeddings of each photo in `files`: from its file in `cached`, else computed and cached."""
    embeddings = [load(path, networks) for path in cached]
    missing = batches([row for row, loaded in enumerate(embeddings) if loaded is None])
    writable = True
    for rows in progress(missing, "added photos, in batches", len(missing)):
        photos = embedder.read([Query(str(files[row])) for row in rows])
        problem = "Photos that were modified while the command ran"
        readable = require_all(photos, problem, "Run the command again.")
        for row, photo in zip(rows, embedder.embed(readable), strict=True):
            embeddings[row] = photo.embeddings
            writable = writable and save(cached[row], photo.embeddings)
    return [photo for photo in embeddings if photo is not None]


def save(path: Path, embeddings: Embeddings) -> bool:
    """Cache the embeddings of a photo in the file `path`. On failure, print a warning and return False."""
    try:
        with locked(path.with_name("lock")), replacing(path) as temporary:
            contiguous = {name: np.ascontiguousarray(array) for name, array in embeddings.items()}
            temporary.write_bytes(safetensors.numpy.save(contiguous))
    except OSError as error:
        message = (
            f"Embeddings cannot be cached in {path.parent} ({error.strerror}); the next command computes them again."
        )
        print(message, file=sys.stderr)
        return False
    return True


def load(path: Path, networks: Sequence[str]) -> Embeddings | None:
    """Load the embeddings cached in the file `path`; None if it is missing, damaged or of other networks."""
    try:
        embeddings = safetensors.numpy.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError):
        return None
    return embeddings if embeddings.keys() == {*networks} else None


def _merge(
    bundle: Bundle, photos: pd.DataFrame, added_thumbnails: Thumbnails, embeddings: Sequence[Embeddings]
) -> Bundle:
    """Return `bundle` with the labelled `photos` added; they replace photos of the same name.

    Photos of `new_whale` are only compared to detect duplicates.
    """
    compared = (photos["Id"] != NEW_WHALE).astype(int)
    photos = photos.assign(phash=to_hex(perceptual_hashes(added_thumbnails)), compared=compared)
    kept = ~bundle.photos["Image"].isin(photos["Image"])
    merged = pd.concat([bundle.photos[kept], photos[COLUMNS]], ignore_index=True)
    order = np.lexsort((merged["Image"], merged["Id"]))
    features = {}
    for network, bundled in bundle.features.items():
        count = bundled.embeddings.shape[1]
        rows = {image: count + row for row, image in enumerate(photos["Image"])}
        added = np.stack([photo[network] for photo in embeddings], axis=1)
        merged_embeddings = np.concatenate([bundled.embeddings, added], axis=1)
        features[network] = replace(bundled, rows={**bundled.rows, **rows}, embeddings=merged_embeddings)
    return replace(
        bundle,
        photos=merged.iloc[order].reset_index(drop=True),
        thumbnails=np.concatenate([bundle.thumbnails[kept.to_numpy()], added_thumbnails])[order],
        features=features,
    )
