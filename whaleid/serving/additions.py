"""Photos that a catalogue has had since a bundle was made: known at once, without training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

from whaleid.catalog.checks import photo_problems, table_problems
from whaleid.catalog.layout import photos_in
from whaleid.catalog.table import read_table
from whaleid.core import arrays
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.files import replacing
from whaleid.core.log import progress
from whaleid.images.fingerprint import Fingerprint, fingerprints
from whaleid.serving.recogniser import Photo, Recogniser, batches

Embeddings = dict[str, npt.NDArray[np.float32]]
"""By network: (V, D) of a photo."""


def known(recogniser: Recogniser, catalogue: Path) -> tuple[Recogniser, dict[str, Path]]:
    """Return a recogniser that also knows the labelled photos of `catalogue` that its bundle has not, and their files.

    Photos that have another label in `catalogue` than in the bundle are among them: the catalogue's holds. What
    networks make of a photo is kept in the user's cache folder, apart for each bundle.

    Raises:
        WhaleidError: train.csv of the catalogue cannot be read.
        InputProblems: photos that it names are missing or damaged.
    """
    labelled = read_table(catalogue / "train.csv", ["Image", "Id"])
    there = photos_in(catalogue / "train")
    for problem in (*photo_problems(there, []), *table_problems(catalogue / "train.csv", labelled, there, [], True)):
        raise problem
    bundled = recogniser.bundle.photos.set_index("Image")
    before = labelled["Image"].map(bundled["Id"])
    if len(labelled) and before.isna().all():
        print(
            f"No photo of {catalogue} is among those that the model learnt: its whales are named too.", file=sys.stderr
        )
    photos = labelled[before != labelled["Id"]]
    files = {image: catalogue / "train" / image for image in photos["Image"]}
    read = fingerprints([*files.values()])
    problems = [found for found in read if isinstance(found, str)]
    if problems:
        remedy = "Put them back, or remove their rows."
        raise InputProblems(f"Photos of {catalogue / 'train.csv'} cannot be used", problems, remedy)
    prints = [found for found in read if isinstance(found, Fingerprint)]
    known_as = photos["Image"].map(bundled["sha256"])
    others = [
        str(file)
        for file, each, sha256 in zip(files.values(), prints, known_as, strict=True)
        if isinstance(sha256, str) and sha256 != each.sha256
    ]
    if others:
        remedy = "Rename the photos, or make the model anew with `dvc repro`."
        raise InputProblems("Photos by whose names the model knows other pictures, with other labels", others, remedy)
    if not prints:
        return recogniser, {}
    each = _embedded(recogniser, [*files.values()], prints)
    together = {network: np.stack([found[network] for found in each], axis=1) for network in recogniser.bundle.networks}
    return recogniser.extended(photos[["Image", "Id"]], prints, together), files


def _embedded(recogniser: Recogniser, files: Sequence[Path], prints: Sequence[Fingerprint]) -> list[Embeddings]:
    """Return the embeddings of each of `files`; those that were not kept are computed, and kept."""
    kept = Path(platformdirs.user_cache_dir("whaleid")) / f"embeddings-{recogniser.bundle.about.digest[:16]}"
    places = [kept / f"{each.sha256}.npz" for each in prints]
    found = [_load(place, [*recogniser.bundle.networks]) for place in places]
    new = [row for row, each in enumerate(found) if each is None]
    keeping = True
    parts = batches(new)
    for rows in progress(parts, "photos added since, in batches", len(parts)):
        seen = recogniser.see([Photo(str(files[row]), files[row].read_bytes()) for row in rows])
        for place, row in enumerate(rows):
            each = {network: embeddings[:, place] for network, embeddings in seen.embeddings.items()}
            found[row] = each
            keeping = keeping and _keep(places[row], each)
    return [each for each in found if each is not None]


def _keep(place: Path, each: Embeddings) -> bool:
    """Keep the embeddings of a photo at `place`; where that fails, say so, and return False."""
    try:
        with replacing(place) as temporary:
            np.savez(temporary, **each)  # type: ignore[arg-type]
    except OSError as error:
        print(f"{place.parent}: what networks make of photos could not be kept ({error.strerror}).", file=sys.stderr)
        return False
    return True


def _load(place: Path, networks: Sequence[str]) -> Embeddings | None:
    """Return what is kept at `place`; None where that is nothing, or nothing whole."""
    try:
        return arrays.read(place, dict.fromkeys(networks, "f"))
    except (OSError, WhaleidError):
        return None
