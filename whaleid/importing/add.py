"""Command `add`: add reviewed photos to a catalogue as labelled photos, and record reviewer, time and prediction."""

import difflib
import unicodedata
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
from whaleid.importing.names import means_nobody, similarity_key
from whaleid.importing.plan import make_plan
from whaleid.importing.source import Entry, Source, find_file
from whaleid.serving import additions, bundle
from whaleid.serving.embedder import Query, batches
from whaleid.serving.identify import answer_cells
from whaleid.serving.recogniser import Answer, Recogniser

RECORD = "additions.csv"
"""File in the catalogue folder, one row per added photo: `Image,Id,by,at,source,model,threshold`, the five labels and
probabilities that the model predicted before the photo was added, and the closest labelled duplicate."""
NEW = "new"
"""What a reviewer writes for a whale that is not in the catalogue, alone or before a label: `new:LABEL`."""
WRITE_A_LABEL = (
    f"Write a label of the catalogue, {NEW} or {NEW}:LABEL for a new whale, or {NEW_WHALE} for a whale without a name."
)
"""Remedy for a cell of the column `whale`."""
WAIT = 120
"""Seconds to wait for another process that adds photos."""


def run(reviewed: Path, photos: Path, by: str, catalogue: Path, model: Path, threshold: float | None = None) -> None:
    """Add the photos of `reviewed`, a csv file with columns `photo` and `whale`, to the folder `catalogue`.

    Paths start from the folder `photos`. Rows without a whale are skipped. The reviewer `by`, the time and the
    prediction of the bundle `model` are recorded for each photo; `threshold` is by default the bundle's.

    Raises:
        WhaleidError: rows, photos or whales cannot be used; the error lists all of them, and nothing is written.
    """
    table = read_reviewed(reviewed)
    if not by.strip() or has_unsafe_characters(by) or by.startswith(FORMULA):
        raise WhaleidError(
            f"--by {by!r} is not a name. Give the reviewer's name, such as --by Ada. It must not begin with "
            f"{' '.join(FORMULA[:4])} and must not contain control characters."
        )
    entries = [
        Entry(find_file(photos, photo), "", f"{reviewed}, line {line}: {photo!r}")
        for line, photo in table["photo"].items()
    ]
    source = Source("reviewed photos", Path(Path.cwd().anchor), entries)
    fingerprints = check([source])
    # inside the lock, so that conflicts and predictions take into account what other reviewers have just added
    with target.locked(catalogue, WAIT):
        recogniser, _ = additions.extend(Recogniser(bundle.read(model)), catalogue)
        labels = new_labels(table["whale"].str.strip().tolist(), entries, fingerprints, recogniser.bundle.photos)
        entries = [replace(entry, label=label) for entry, label in zip(entries, labels, strict=True)]
        answers: list[Answer] = []
        photo_batches = batches(entries)
        for batch in progress(photo_batches, "batches of photos identified", len(photo_batches)):
            answers += recogniser.identify([Query(str(entry.file)) for entry in batch], threshold)
        _refuse_conflicts(entries, answers)
        existing = target.read(catalogue, {fingerprint.size for fingerprint in fingerprints})
        plan = make_plan([replace(source, entries=entries)], fingerprints, existing)
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
        record = record.drop_duplicates(["Image", "Id"]).fillna("")
        target.write(catalogue, plan, other_tables={RECORD: record})
    for name, label in plan.labels.items():
        is_new = label not in (NEW_WHALE, *plan.existing.labels.values())
        logger.info(f"{name}: {label}{', a new whale' if is_new else ''}")
    logger.info(
        f"{len(plan.labels):,} photos added to {catalogue}, {plan.skipped:,} skipped: "
        "already in the catalogue or repeated\n"
        f"{catalogue / RECORD} records reviewer, time and the model's prediction"
    )


def read_reviewed(path: Path) -> pd.DataFrame:
    """Read the columns `photo` and `whale` of the csv file `path`, without rows that have no whale.

    Raises:
        WhaleidError: the file is not csv, lacks a column, or has no row with a whale.
        InputProblems: paths of photos cannot be recorded in a csv file.
    """
    table = read_table(path, ["photo", "whale"])
    table = table[table["whale"].str.strip() != ""]
    if table.empty:
        raise WhaleidError(f"{path}: the column whale is empty in all rows. {WRITE_A_LABEL} Then save the file.")
    bad_paths = [
        f"{path}, line {line}: {photo!r}"
        for line, photo in table["photo"].items()
        if photo.startswith(FORMULA) or has_unsafe_characters(photo)
    ]
    if bad_paths:
        problem = f"Paths that begin with {' '.join(FORMULA[:4])}, as formulas do, or contain control characters"
        remedy = "Write ./ before such a path, as `whaleid identify --csv` does. Rename files with control characters."
        raise InputProblems(problem, bad_paths, remedy)
    return table


def new_labels(
    reviewed: Sequence[str], entries: Sequence[Entry], fingerprints: Sequence[Fingerprint], known: pd.DataFrame
) -> list[str]:
    """Return the label of each photo: the text of the reviewer, or for `new` and `new:LABEL` the label of a new whale.

    `known` is the table of labelled photos, with columns `Id` and `sha256`.

    Raises:
        WhaleidError: labels are not in the catalogue, or new labels are in it already, are similar to another label,
            or cannot be used.
    """
    existing = {*known["Id"], NEW_WHALE}
    label_by_hash = dict(zip(known["sha256"], known["Id"], strict=True))
    label_by_key = {similarity_key(label): label for label in existing}
    labels, unknown, in_use, new, nameless, similar = [], [], [], [], [], []
    for cell, entry, fingerprint in zip(reviewed, entries, fingerprints, strict=True):
        label = unicodedata.normalize("NFC", cell)  # as in the catalogue
        kind, _, name = label.partition(":")
        if kind.strip().casefold() == NEW:
            # from the photo's hash, so that adding a photo again gives the same label
            label = name.strip() or f"w_{fingerprint.sha256[:7]}"
            new.append((f"{entry.location}: {label!r}", label))
            if label in existing and label_by_hash.get(fingerprint.sha256) != label:
                in_use.append(f"{entry.location}: {label!r}")
            elif name.strip() and label not in existing:
                if means_nobody(label):
                    nameless.append(f"{entry.location}: {label!r}")
                elif (first := label_by_key.setdefault(similarity_key(label), label)) != label:
                    similar.append(f"{entry.location}: {label!r} (did you mean {first!r}?)")
        elif label not in existing:
            same_key = label_by_key.get(similarity_key(label), NEW_WHALE if means_nobody(label) else None)
            matches = [same_key] if same_key else difflib.get_close_matches(label, existing, 1)
            hint = f" (did you mean {matches[0]!r}?)" if matches else ""
            unknown.append(f"{entry.location}: {label!r}{hint}")
        labels.append(label)
    in_use_remedy = f"If it is that whale, write the label without {NEW}:. Otherwise choose another label."
    raise_all(
        [
            *input_problems("Labels that are not in the catalogue", unknown, WRITE_A_LABEL),
            *input_problems("New whales with a label that is already in the catalogue", in_use, in_use_remedy),
            *input_problems("New whales with a label that is similar to another one", similar, in_use_remedy),
            *input_problems("New whales with a word for a whale without a name", nameless, WRITE_A_LABEL),
            *label_problems("Names of whales", new),
        ]
    )
    return labels


def _refuse_conflicts(entries: Sequence[Entry], answers: Sequence[Answer]) -> None:
    """Refuse photos that duplicate a photo with another label, because training would exclude both."""
    conflicts = [
        f"{entry.location} is {entry.label}, but it is a duplicate of {duplicate.photo}, which is {duplicate.whale}"
        for entry, answer in zip(entries, answers, strict=True)
        for duplicate in answer.same
        if duplicate.whale != entry.label
    ]
    if conflicts:
        remedy = "Keep the correct label: correct this row, or the row of the other photo in train.csv."
        raise InputProblems("The same photo with different labels", conflicts, remedy)
