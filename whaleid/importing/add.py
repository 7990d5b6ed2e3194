"""Command `add`: reviewed photos become labelled photos of a catalogue, recorded with who reviewed them and when."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from whaleid.catalog.checks import FORMULA, has_unsafe_characters, input_problems, label_problems
from whaleid.catalog.table import header, read_table
from whaleid.core.errors import InputProblems, WhaleidError, raise_all
from whaleid.core.labels import NEW_WHALE
from whaleid.core.log import logger, progress
from whaleid.images.fingerprint import Fingerprint
from whaleid.importing import target
from whaleid.importing.checks import check
from whaleid.importing.plan import make_plan
from whaleid.importing.source import Entry, Source
from whaleid.serving import additions, bundle
from whaleid.serving.embedder import Query, batches
from whaleid.serving.identify import answer_cells
from whaleid.serving.recogniser import Answer, Recogniser

RECORD = "additions.csv"
"""In the catalogue's folder, a row per photo added: `Image,Id,by,at,source,model,threshold`, the five labels and
probabilities of the model's answer before the photo was known, and the closest labelled duplicate."""
NEW = "new"
"""What a reviewer writes for a whale that the catalogue has not, alone or before a label: `new:LABEL`."""
WAIT = 120
"""Seconds to wait for another process that adds photos."""


def run(reviewed: Path, photos: Path, by: str, catalogue: Path, model: Path, threshold: float | None = None) -> None:
    """Put the photos of `reviewed`, a csv file with columns `photo` and `whale`, into the folder `catalogue`.

    Paths of photos are relative to `photos`. Rows without a whale are left out. The answer of the bundle `model` to
    each photo, at `threshold` or its own, is recorded with the reviewer and the time.

    Raises:
        WhaleidError: rows, photos or whales that cannot be used; names all of them, and nothing is written.
    """
    table = read_reviewed(reviewed)
    if not by.strip() or has_unsafe_characters(by) or by.startswith(FORMULA):
        raise WhaleidError(f"--by {by!r}: name the reviewer, without control characters and none of = + - @ in front.")
    entries = [
        Entry(photos / photo, "", f"{reviewed}, line {line}: {photo!r}") for line, photo in table["photo"].items()
    ]
    source = Source("reviewed photos", Path(Path.cwd().anchor), entries)
    prints = check([source])
    # photos that another reviewer has just added count as well, for conflicts and for the answers
    with target.locked(catalogue, WAIT):
        recogniser, _ = additions.extend(Recogniser(bundle.read(model)), catalogue)
        labels = new_labels(table["whale"].str.strip().tolist(), entries, prints, recogniser.bundle.photos)
        entries = [replace(entry, label=label) for entry, label in zip(entries, labels, strict=True)]
        answers: list[Answer] = []
        parts = batches(entries)
        for part in progress(parts, "batches of photos identified", len(parts)):
            answers += recogniser.identify([Query(str(entry.file)) for entry in part], threshold)
        _refuse_conflicts(entries, answers)
        existing = target.read(catalogue, {each.size for each in prints})
        plan = make_plan([replace(source, entries=entries)], prints, existing)
        about = recogniser.bundle.about
        record = pd.DataFrame({"Image": plan.names, "Id": labels}).assign(
            by=by,
            at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            source=table["photo"].tolist(),
            model=f"{about.variant} {about.digest[:16]}",
            threshold=f"{about.threshold if threshold is None else threshold:g}",
        )
        record = record.join(pd.DataFrame([answer_cells(answer) for answer in answers]))
        record = record[record["Image"].isin(plan.labels)]
        if (catalogue / RECORD).exists():
            earlier = read_table(catalogue / RECORD, header(catalogue / RECORD))
            record = pd.concat([earlier, record])
        target.write(catalogue, plan, more={RECORD: record.drop_duplicates(["Image", "Id"]).fillna("")})
    for name, label in plan.labels.items():
        new = label not in (NEW_WHALE, *plan.existing.labels.values())
        logger.info(f"{name}: {label}{', a new whale' if new else ''}")
    logger.info(
        f"{len(plan.labels):,} photos added to {catalogue}, {plan.skipped:,} were there already; "
        f"{catalogue / RECORD} records who added them, when, and what the model had answered"
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
        if photo.startswith(FORMULA) or has_unsafe_characters(photo)
    ]
    if odd:
        remedy = "Write ./ before the first, as `whaleid identify --csv` does, and rename the others."
        raise InputProblems("Paths that a spreadsheet would run, or that hold control characters", odd, remedy)
    return table


def new_labels(
    reviewed: Sequence[str], entries: Sequence[Entry], prints: Sequence[Fingerprint], known: pd.DataFrame
) -> list[str]:
    """Return the label of each photo for what the reviewer wrote; `known` is `Id,sha256` of labelled photos.

    Raises:
        WhaleidError: labels that no labelled photo has, new ones that some have, or ones that cannot be used.
    """
    existing = {*known["Id"], NEW_WHALE}
    label_by_hash = dict(zip(known["sha256"], known["Id"], strict=True))
    labels, unknown, in_use, new = [], [], [], []
    for text, entry, photo in zip(reviewed, entries, prints, strict=True):
        kind, _, name = text.partition(":")
        if kind == NEW:
            # named by its photo, so that the same photo always makes the same whale
            label = name.strip() or f"w_{photo.sha256[:7]}"
            new.append((f"{entry.where}: {label!r}", label))
            if label in existing and label_by_hash.get(photo.sha256) != label:
                in_use.append(f"{entry.where}: {label!r}")
        else:
            label = text
            if label not in existing:
                near = difflib.get_close_matches(label, existing, 1)
                unknown.append(f"{entry.where}: {label!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        labels.append(label)
    remedy = f"Correct the label, or write {NEW}, or {NEW}:LABEL, for a whale that the catalogue has not."
    raise_all(
        [
            *input_problems("Whales that the catalogue has not", unknown, remedy),
            *input_problems("New whales that the catalogue has already", in_use, f"Write the label without {NEW}:."),
            *label_problems("Names of whales", new),
        ]
    )
    return labels


def _refuse_conflicts(entries: Sequence[Entry], answers: Sequence[Answer]) -> None:
    """Refuse photos that duplicate one with another label: training would leave out both."""
    conflicts = [
        f"{entry.where} is {entry.label} here; it is the same picture as {each.photo}, which is {each.whale}"
        for entry, answer in zip(entries, answers, strict=True)
        for each in answer.same
        if each.whale != entry.label
    ]
    if conflicts:
        remedy = "Keep the label that is right: correct the row, or train.csv of the catalogue by hand."
        raise InputProblems("The same picture under several labels", conflicts, remedy)
