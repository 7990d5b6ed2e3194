"""Command `identify`: identify the whales in photos with a bundle. No photo is changed."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
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

COLUMNS = ["photo", "whale", *LABELS, *PROBABILITIES, "same_as", "same_as_whale", "problem"]
"""Columns of the table; `whale` is empty, for the reviewer to fill in for `whaleid add`."""


def run(
    inputs: Sequence[Path],
    model: Path,
    catalogue: Path | None,
    threshold: float | None,
    csv: Path | None,
    json_file: Path | None,
    html: Path | None,
) -> int:
    """Identify the whales in photos; print the answers and write them to files.

    `inputs` are photos, and folders of photos. The labelled photos of the folder `catalogue` that are not in the bundle
    `model` are added to it. `threshold`, 0 to 1, replaces the threshold of the bundle.

    Returns:
        The number of photos that could not be read.

    Raises:
        WhaleidError: the bundle `model` cannot be used, an input does not exist, a folder contains no images, or a file
            to write exists and contains something else.
    """
    if csv:
        _refuse_to_overwrite(csv)
    for path, start in ((json_file, b"["), (html, b"<!doctype html>")):
        if path and path.is_file() and (content := path.read_bytes()) and not content.startswith(start):
            raise WhaleidError(f"{path} exists and is not a file that identify has written: choose another file.")
    photos, refused = _photos(inputs)
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
        nearest = {candidate.nearest for answer in answers for candidate in answer.names}
        files = {image: path for image, path in added.items() if image in nearest}
        readable = {answer.photo for answer in answers if not answer.problem}
        names = {spreadsheet_safe(path): path for path in photos}
        files |= {page.picture_key(name): path for name, path in names.items() if name in readable}
        # photos that were removed in the meantime are omitted
        pictures = bundle.pictures(model) | try_previews(files, bundle.WIDTH)[0]
        with replacing(html) as temporary:
            temporary.write_text(page.render(answers, limit, pictures), encoding="utf-8", newline="\n")
    return sum(bool(answer.problem) for answer in answers)


def _photos(inputs: Sequence[Path]) -> tuple[list[Path], list[Answer]]:
    """List the photos of `inputs` without repetition, and the answers for photos that csv files cannot name."""
    if missing := [str(path) for path in inputs if not path.exists()]:
        remedy = "Correct the paths. Relative paths start from the current folder."
        raise InputProblems("Photos or folders that do not exist", missing, remedy)
    paths = dict.fromkeys(path for entry in inputs for path in (list_images(entry) if entry.is_dir() else [entry]))
    unsafe = {path for path in paths if has_unsafe_characters(str(path))}
    problem = "its name cannot be written to a csv file: rename it"
    refused = [Answer(ascii(str(path)), problem=problem) for path in sorted(unsafe)]
    return [path for path in paths if path not in unsafe], refused


def _refuse_to_overwrite(path: Path) -> None:
    """Raise an error if the file to write exists, unless it is a table of `identify` without a reviewer's labels."""
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        table = read_table(path, header(path))
    except WhaleidError:
        table = pd.DataFrame()
    if [*table.columns] != COLUMNS:
        raise WhaleidError(f"{path} exists and is not a table that identify has written: choose another file.")
    if reviewed := int((table["whale"].str.strip() != "").sum()):
        raise WhaleidError(
            f"{path} has {reviewed:,} reviewed photos, which would be overwritten. Run `whaleid add "
            f"{shlex.quote(str(path))} --by NAME` to add them to the catalogue, or choose another file."
        )


def _answers(
    recogniser: Recogniser, photos: Sequence[Path], model: Path, catalogue: Path | None, threshold: float | None
) -> Iterable[list[Answer]]:
    """Yield the answers to `photos` in batches, computed in this process or by the workers of a Dask cluster."""
    parts = batches(photos)
    if not os.environ.get(DASK):
        return map(partial(_identify, load=lambda: recogniser, threshold=threshold), parts)
    # the version changes with the label or content of any labelled photo, including those added from the catalogue
    labelled = recogniser.bundle.photos[["Image", "Id", "sha256"]].to_csv(index=False)
    version = recogniser.bundle.about.digest + hashlib.sha256(labelled.encode()).hexdigest()
    load = partial(_load_once, model, catalogue, version)
    identify = partial(_identify, load=load, threshold=threshold)
    return parallel_map(identify, parts, f"batches of {BATCH} photos", batch_size=1)


def _identify(photos: Sequence[Path], load: Callable[[], Recogniser], threshold: float | None) -> list[Answer]:
    return load().identify([Query(spreadsheet_safe(path)) for path in photos], threshold)


@lru_cache(maxsize=1)
def _load_once(model: Path, catalogue: Path | None, version: str) -> Recogniser:
    """Load a recogniser. A worker keeps it until the `version` of the model and the catalogue changes."""
    return _load(model, catalogue)[0]


def _load(model: Path, catalogue: Path | None) -> tuple[Recogniser, dict[str, Path]]:
    """Load a recogniser; return it and the paths of the photos added from `catalogue`, by Image."""
    recogniser = Recogniser(bundle.read(model))
    return additions.extend(recogniser, catalogue) if catalogue else (recogniser, {})


def _lines(answer: Answer, width: int) -> list[str]:
    """Format an answer as the lines to print; the name of the photo is padded to `width` characters."""
    if answer.problem:
        return [f"{answer.photo:<{width}}  not read: {answer.problem}"]
    labels = "  ".join(f"{candidate.whale} {candidate.probability:.0%}" for candidate in answer.names)
    same = [f"{'':<{width}}  same picture as {duplicate.photo} ({duplicate.whale})" for duplicate in answer.same]
    return [f"{answer.photo:<{width}}  {labels}", *same]


def _table(answers: Sequence[Answer]) -> pd.DataFrame:
    """Return a table with one row per answer: `photo,whale,label1…5,probability1…5,same_as,same_as_whale,problem`.

    `whale` is empty. A reviewer fills it in for `whaleid add`.
    """
    rows = [{"photo": x.photo, "whale": "", **answer_cells(x), "problem": x.problem} for x in answers]
    return pd.DataFrame(rows)


def answer_cells(answer: Answer) -> dict[str, str]:
    """Return an answer as cells of a table: `label1…5,probability1…5,same_as,same_as_whale`, the closest duplicate."""
    missing = [""] * (TOP_K - len(answer.names))
    whales = [candidate.whale for candidate in answer.names] + missing
    probabilities = [f"{candidate.probability:.4g}" for candidate in answer.names] + missing
    cells = dict(zip([*LABELS, *PROBABILITIES], [*whales, *probabilities], strict=True))
    photo, whale = (answer.same[0].photo, answer.same[0].whale) if answer.same else ("", "")
    return {**cells, "same_as": photo, "same_as_whale": whale}


def _as_json(answer: Answer) -> dict[str, object]:
    candidates = [replace(candidate, probability=float(f"{candidate.probability:.4g}")) for candidate in answer.names]
    return asdict(replace(answer, names=candidates))
