"""Photos that a catalogue has gained since a bundle was made: known at once, without training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs
import safetensors.numpy

from whaleid.catalog.checks import photo_problems, table_problems
from whaleid.catalog.layout import photos_in
from whaleid.catalog.table import read_table
from whaleid.core.errors import InputProblems
from whaleid.core.files import replacing
from whaleid.core.log import progress
from whaleid.images.fingerprint import Fingerprint, fingerprints
from whaleid.serving.recogniser import Photo, Recogniser, batches

Embeddings = dict[str, npt.NDArray[np.float32]]
"""(V, D) of a photo, by network."""


def known(recogniser: Recogniser, catalogue: Path) -> tuple[Recogniser, dict[str, Path]]:
    """Return a recogniser that also knows the labelled photos of `catalogue` that its bundle lacks, and their files.

    Photos whose label differs from the bundle's are among them: that of the catalogue counts. Embeddings are cached in
    the user's cache folder, for each bundle apart.

    Raises:
        WhaleidError: train.csv of the catalogue cannot be read.
        InputProblems: photos that it names are missing or damaged.
    """
    labelled = read_table(catalogue / "train.csv", ["Image", "Id"])
    names = photos_in(catalogue / "train")
    for problem in (*photo_problems(names, []), *table_problems(catalogue / "train.csv", labelled, names, [], True)):
        raise problem
    bundled = recogniser.bundle.photos.set_index("Image")
    bundled_labels = labelled["Image"].map(bundled["Id"])
    if len(labelled) and bundled_labels.isna().all():
        print(f"The model was trained on no photo of {catalogue}; its whales are named as well.", file=sys.stderr)
    photos = labelled[bundled_labels != labelled["Id"]]
    files = {image: catalogue / "train" / image for image in photos["Image"]}
    read = fingerprints([*files.values()])
    if problems := [each for each in read if isinstance(each, str)]:
        remedy = "Put them back, or remove their rows."
        raise InputProblems(f"Photos of {catalogue / 'train.csv'} cannot be used", problems, remedy)
    prints = [each for each in read if isinstance(each, Fingerprint)]
    others = [
        str(file)
        for file, each, sha256 in zip(files.values(), prints, photos["Image"].map(bundled["sha256"]), strict=True)
        if isinstance(sha256, str) and sha256 != each.sha256
    ]
    if others:
        remedy = "Rename the photos, or make the model anew with `dvc repro`."
        raise InputProblems("Photos by whose names the model knows other pictures, with other labels", others, remedy)
    if not prints:
        return recogniser, {}
    embedded = _embed(recogniser, [*files.values()], prints)
    embeddings = {name: np.stack([each[name] for each in embedded], axis=1) for name in recogniser.bundle.networks}
    return recogniser.extended(photos[["Image", "Id"]], prints, embeddings), files


def _embed(recogniser: Recogniser, files: Sequence[Path], prints: Sequence[Fingerprint]) -> list[Embeddings]:
    """Return the embeddings of each of `files`, from the cache or computed and cached."""
    cache = Path(platformdirs.user_cache_dir("whaleid")) / f"embeddings-{recogniser.bundle.about.digest[:16]}"
    places = [cache / f"{each.sha256}.safetensors" for each in prints]
    embeddings = [load(place, [*recogniser.bundle.networks]) for place in places]
    parts = batches([row for row, each in enumerate(embeddings) if each is None])
    writable = True
    for rows in progress(parts, "photos added since, in batches", len(parts)):
        embedded = recogniser.embed([Photo(str(files[row]), files[row].read_bytes()) for row in rows])
        for place, row in enumerate(rows):
            each = {name: np.ascontiguousarray(array[:, place]) for name, array in embedded.embeddings.items()}
            embeddings[row] = each
            writable = writable and save(places[row], each)
    return [each for each in embeddings if each is not None]


def save(place: Path, embeddings: Embeddings) -> bool:
    """Cache the embeddings of a photo at `place`; if that fails, print a warning and return False."""
    try:
        with replacing(place) as temporary:
            temporary.write_bytes(safetensors.numpy.save(embeddings))
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
