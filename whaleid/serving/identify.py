"""Command `identify`: name the whales on photos anywhere, by a bundle; no photo is changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path

import pandas as pd

from whaleid.catalog.checks import has_unsafe_characters
from whaleid.catalog.table import header, read_table
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.files import replacing, write_csv
from whaleid.core.labels import TOP_K
from whaleid.core.parallel import DASK, parallel_map
from whaleid.identification.ranking import LABELS, PROBABILITIES
from whaleid.images.listing import list_images, spreadsheet_safe
from whaleid.images.previews import try_previews
from whaleid.serving import additions, bundle, page
from whaleid.serving.embedder import BATCH, Query, batches
from whaleid.serving.recogniser import Answer, Recogniser


def run(
    places: Sequence[Path],
    model: Path,
    catalogue: Path | None,
    threshold: float | None,
    csv: Path | None,
    json_file: Path | None,
    html: Path | None,
) -> int:
    """Print who is on the photos at `places`, files and folders; write tables and a page where files are named.

    Whales are those of the bundle `model`, and those that the folder `catalogue` has gained since.

    Returns:
        The number of photos that could not be read.

    Raises:
        WhaleidError: the bundle `model` cannot be used, a folder holds no images, or a place does not exist.
    """
    if csv:
        _refuse_reviewed(csv)
    photos, refused = _photos(places)
    recogniser, added = _load(model, catalogue)
    width = max([len(spreadsheet_safe(path)) for path in photos], default=0)
    answers: list[Answer] = []
    for batch in chain([refused], _answers(recogniser, photos, model, catalogue, threshold)):
        answers += batch
        for answer in batch:
            print(*_lines(answer, width), sep="\n", flush=True)
    if csv:
        write_csv(_table(answers), csv)
    if json_file:
        with replacing(json_file) as temporary:
            text = json.dumps([_as_json(answer) for answer in answers], indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    if html:
        limit = recogniser.bundle.about.threshold if threshold is None else threshold
        nearest = {name.nearest for answer in answers for name in answer.names}
        files = {image: path for image, path in added.items() if image in nearest}
        readable = {answer.photo for answer in answers if not answer.problem}
        files |= {page.key(spreadsheet_safe(path)): path for path in photos if spreadsheet_safe(path) in readable}
        # photos that are not there any more are left out
        pictures = bundle.pictures(model) | try_previews(files, bundle.WIDTH)[0]
        with replacing(html) as temporary:
            temporary.write_text(page.render(answers, limit, pictures), encoding="utf-8", newline="\n")
    return sum(bool(answer.problem) for answer in answers)


def _photos(places: Sequence[Path]) -> tuple[list[Path], list[Answer]]:
    """Return the files at `places` and the images in folders, each once, and answers to those with unwritable names."""
    if missing := [str(place) for place in places if not place.exists()]:
        raise InputProblems("There are no such photos or folders", missing, "Check how they are spelt.")
    paths = dict.fromkeys(path for place in places for path in (list_images(place) if place.is_dir() else [place]))
    odd = {path for path in paths if has_unsafe_characters(str(path))}
    problem = "its name cannot be written to a csv file: rename it"
    refused = [Answer(ascii(str(path)), problem=problem) for path in sorted(odd)]
    return [path for path in paths if path not in odd], refused


def _refuse_reviewed(path: Path) -> None:
    """Refuse to replace a table in which a reviewer has named whales."""
    if not path.exists() or "whale" not in header(path):
        return
    if reviewed := int((read_table(path, ["whale"])["whale"].str.strip() != "").sum()):
        raise WhaleidError(
            f"{path} has {reviewed:,} reviewed photos: `whaleid add {path} --by NAME` adds them. Name another file, or "
            "remove this one."
        )


def _answers(
    recogniser: Recogniser, photos: Sequence[Path], model: Path, catalogue: Path | None, threshold: float | None
) -> Iterable[list[Answer]]:
    """Yield the answers to `photos` in batches, from here or from the workers of a Dask cluster."""
    parts = batches(photos)
    if not os.environ.get(DASK):
        return map(partial(_identify, load=lambda: recogniser, threshold=threshold), parts)
    # the labels and the SHA-256 of all photos that it knows, those that the catalogue has gained as well
    known = recogniser.bundle.photos[["Image", "Id", "sha256"]].to_csv(index=False)
    version = recogniser.bundle.about.digest + hashlib.sha256(known.encode()).hexdigest()
    load = partial(_load_once, model, catalogue, version)
    identify = partial(_identify, load=load, threshold=threshold)
    return parallel_map(identify, parts, f"batches of {BATCH} photos", batch_size=1)


def _identify(photos: Sequence[Path], load: Callable[[], Recogniser], threshold: float | None) -> list[Answer]:
    return load().identify([Query(spreadsheet_safe(path)) for path in photos], threshold)


@lru_cache(maxsize=1)
def _load_once(model: Path, catalogue: Path | None, version: str) -> Recogniser:
    """Load a recogniser; a worker keeps it while the `version` of the model and the catalogue is the same."""
    return _load(model, catalogue)[0]


def _load(model: Path, catalogue: Path | None) -> tuple[Recogniser, dict[str, Path]]:
    """Load a recogniser; return it and the files of the photos that were added to `catalogue`."""
    recogniser = Recogniser(bundle.read(model))
    return additions.known(recogniser, catalogue) if catalogue else (recogniser, {})


def _lines(answer: Answer, width: int) -> list[str]:
    """Return the lines to print for an answer; photos' names are padded to `width` columns."""
    if answer.problem:
        return [f"{answer.photo:<{width}}  not read: {answer.problem}"]
    names = "  ".join(f"{name.whale} {name.probability:.0%}" for name in answer.names)
    same = [f"{'':<{width}}  same picture as {each.photo} ({each.whale})" for each in answer.same]
    return [f"{answer.photo:<{width}}  {names}", *same]


def _table(answers: Sequence[Answer]) -> pd.DataFrame:
    """Return a row per answer: `photo,whale,label1…5,probability1…5,same_as,same_as_whale,problem`.

    `whale` is empty, for the reviewer to fill in for `whaleid add`.
    """
    rows = [{"photo": answer.photo, "whale": "", **evidence(answer), "problem": answer.problem} for answer in answers]
    return pd.DataFrame(rows)


def evidence(answer: Answer) -> dict[str, str]:
    """Return an answer as cells: `label1…5,probability1…5,same_as,same_as_whale`; of duplicates the closest."""
    missing = [""] * (TOP_K - len(answer.names))
    whales = [name.whale for name in answer.names] + missing
    probabilities = [f"{name.probability:.4g}" for name in answer.names] + missing
    cells = dict(zip([*LABELS, *PROBABILITIES], [*whales, *probabilities], strict=True))
    photo, whale = (answer.same[0].photo, answer.same[0].whale) if answer.same else ("", "")
    return {**cells, "same_as": photo, "same_as_whale": whale}


def _as_json(answer: Answer) -> dict[str, object]:
    names = [replace(name, probability=float(f"{name.probability:.4g}")) for name in answer.names]
    return asdict(replace(answer, names=names))
