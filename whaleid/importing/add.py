"""Command `add`: photos that someone has looked at become labelled photos of a catalogue, with who said so and when."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from whaleid.catalog.checks import FORMULA, unwritable
from whaleid.catalog.table import header, read_table
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.labels import NEW_WHALE
from whaleid.core.log import progress
from whaleid.images import scanning
from whaleid.images.fingerprint import Fingerprint
from whaleid.importing import importer
from whaleid.importing.plan import Plan
from whaleid.importing.source import Entry, Source
from whaleid.serving import additions, bundle
from whaleid.serving.identify import evidence
from whaleid.serving.recogniser import Answer, Photo, Recogniser, batches

RECORD = "additions.csv"
"""In the catalogue's folder: `Image,Id,by,at,source,model,threshold`, the five labels and probabilities that the photo
was answered with before it was known, and the closest labelled photo that is the same picture; a row a photo added."""
NEW = "new"
"""What a reviewer writes for a whale that the catalogue has not, alone or before a label: `new:LABEL`."""
WAIT = 120
"""Seconds for another to finish adding."""


def run(reviewed: Path, photos: Path, by: str, catalogue: Path, model: Path, threshold: float | None = None) -> None:
    """Put the photos of `reviewed`, a csv file with columns `photo` and `whale`, into the folder `catalogue`.

    Paths of photos are relative to `photos`. Rows without a whale are passed over. What the bundle `model` says of each
    photo at `threshold`, or its own, is recorded with who added it and when; from then on `identify` knows it.

    Raises:
        WhaleidError: rows, photos or whales that cannot be taken, all of them: then nothing is written.
    """
    table = read_reviewed(reviewed)
    if not by.strip():
        raise WhaleidError("--by is empty: name who has looked at the photos.")
    if unwritable(by) or by.startswith(FORMULA):
        raise WhaleidError(f"--by {by!r}: a name holds no control characters and begins with none of = + - @.")
    files = [photos / photo for photo in table["photo"]]
    where = [f"{reviewed}, line {line}: {photo!r}" for line, photo in table["photo"].items()]
    prints = _read(files, where)
    # another reviewer's photos of just now count as well, for what contradicts and for what the model says
    with importer.alone(catalogue, WAIT):
        # what the model says without these photos is the evidence
        recogniser, _ = additions.known(Recogniser(bundle.read(model)), catalogue)
        labels = _labels(table["whale"].str.strip().tolist(), where, prints, recogniser.bundle.photos)
        answers = _asked(recogniser, files, threshold)
        _refuse_contradictions(where, labels, answers)
        entries = [Entry(file, label, said) for file, label, said in zip(files, labels, where, strict=True)]
        about = recogniser.bundle.about

        def record(plan: Plan) -> dict[str, pd.DataFrame]:
            recorded = pd.DataFrame([evidence(answer) for answer in answers])
            recorded.insert(0, "Image", plan.names)
            recorded.insert(1, "Id", labels)
            recorded.insert(2, "by", by)
            recorded.insert(3, "at", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
            recorded.insert(4, "source", table["photo"].tolist())
            recorded.insert(5, "model", f"{about.variant} {about.digest[:16]}")
            recorded.insert(6, "threshold", f"{about.threshold if threshold is None else threshold:g}")
            recorded = recorded[recorded["Image"].isin(plan.labels)]
            return {RECORD: _record(catalogue / RECORD, recorded)}

        source = Source("reviewed photos", Path(Path.cwd().anchor), entries)
        done = importer.put(catalogue, [source], more=record)
    known = {each.label for each in done.held.photos}
    for name, label in done.plan.labels.items():
        print(f"{name}: {label}" + ("" if label in known or label == NEW_WHALE else ", a new whale"))
    print(
        f"{len(done.plan.labels):,} photos added to {catalogue}, {done.plan.skipped:,} were there already; "
        f"{catalogue / RECORD} says who added them, when, and what the model had said"
    )


def read_reviewed(path: Path) -> pd.DataFrame:
    """Return `photo,whale`, the rows of the csv file `path` that have a whale.

    Raises:
        WhaleidError: the file is no csv, lacks a column, or has no such row.
        InputProblems: photos' paths that cannot be recorded as they are.
    """
    table = read_table(path, ["photo", "whale"])
    table = table[table["whale"].str.strip() != ""]
    if table.empty:
        raise WhaleidError(
            f"{path}: no row has a whale: write a label, {NEW_WHALE}, or {NEW} for one that the catalogue has not."
        )
    odd = [
        f"{path}, line {line}: {photo!r}"
        for line, photo in table["photo"].items()
        if photo.startswith(FORMULA) or unwritable(photo)
    ]
    if odd:
        remedy = "Write ./ before the first, as `whaleid identify --csv` does, and rename the others."
        raise InputProblems("Paths that a spreadsheet would run, or that hold control characters", odd, remedy)
    return table


def _read(files: Sequence[Path], where: Sequence[str]) -> list[Fingerprint]:
    """Return what the files of photos are.

    Raises:
        InputProblems: some cannot be read.
    """
    read = scanning.scan(files, scanning.CATALOGUE)
    bad = [f"{place}: {found}" for place, found in zip(where, read, strict=True) if isinstance(found, str)]
    if bad:
        raise InputProblems(
            "Photos that cannot be used", bad, "Mend their paths or files; --photos names their folder."
        )
    return [found for found in read if isinstance(found, Fingerprint)]


def _labels(
    asked: Sequence[str], where: Sequence[str], prints: Sequence[Fingerprint], known: pd.DataFrame
) -> list[str]:
    """Return the label of each photo, of which `asked` is what the reviewer wrote; `known` are labelled photos.

    Raises:
        InputProblems: labels that no labelled photo has, or new ones that some have.
    """
    labels = {*known["Id"], NEW_WHALE}
    of = dict(zip(known["sha256"], known["Id"], strict=True))
    found, strange, taken = [], [], []
    for said, place, each in zip(asked, where, prints, strict=True):
        kind, colon, label = said.partition(":")
        if said == NEW:
            label = f"w_{each.sha256[:7]}"  # so that the same photo always makes the same whale
        elif kind == NEW and colon:
            label = label.strip()
        else:
            label = said
            if label not in labels:
                near = difflib.get_close_matches(label, labels, 1)
                strange.append(f"{place}: {label!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        if kind == NEW and label in labels and of.get(each.sha256) != label:
            taken.append(f"{place}: {label!r}")
        found.append(label)
    if strange:
        remedy = f"Mend the label, or write {NEW}, or {NEW}:LABEL, for a whale that the catalogue has not."
        raise InputProblems("Whales that the catalogue has not", strange, remedy)
    if taken:
        raise InputProblems("New whales that the catalogue has already", taken, f"Write the label without {NEW}:.")
    return found


def _asked(recogniser: Recogniser, files: Sequence[Path], threshold: float | None) -> list[Answer]:
    answers: list[Answer] = []
    parts = batches(files)
    for some in progress(parts, "photos looked at, in batches", len(parts)):
        answers += recogniser.identify([Photo(str(file), file.read_bytes()) for file in some], threshold)
    return answers


def _refuse_contradictions(where: Sequence[str], labels: Sequence[str], answers: Sequence[Answer]) -> None:
    """Refuse photos that are the same picture as one with another label: training would throw out both."""
    torn = [
        f"{place} is {label} here; it is the same picture as {each.photo}, which is {each.whale}"
        for place, label, answer in zip(where, labels, answers, strict=True)
        for each in answer.same
        if each.whale != label
    ]
    if torn:
        remedy = "Keep the label that is right: mend the row, or correct train.csv of the catalogue by hand."
        raise InputProblems("The same picture under several labels", torn, remedy)


def _record(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the table at `path`, if there is one, with `rows`, but for photos whose label it has already."""
    if path.exists():
        before = read_table(path, header(path))
        rows = pd.concat([before, rows]).drop_duplicates(["Image", "Id"])
    return rows.fillna("")
