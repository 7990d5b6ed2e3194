"""The catalogue folder that an import writes to: lock it, read it, and add either all of a plan or nothing."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pandas as pd
from filelock import Timeout

from whaleid.catalog import layout
from whaleid.catalog.table import header, read_table
from whaleid.core import locks, paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.files import replacing, write_csv
from whaleid.core.formats import is_hidden
from whaleid.core.labels import CORNERS, NEW_WHALE
from whaleid.core.log import progress
from whaleid.importing.plan import CataloguePhoto, ExistingCatalogue, Plan

PARTS = ("train", "test")
"""Folders of a catalogue: labelled photos and queries."""
LOCK = ".lock"
"""File in the catalogue folder that keeps other commands from writing to it."""
UNPACKED = ".unpacked"
"""Folder in the catalogue folder that zip files are unpacked into."""


@contextmanager
def locked(catalogue: Path, wait: float = 0) -> Iterator[None]:
    """Keep other commands from writing to the folder `catalogue`. Create it, and remove new folders that stay empty.

    Raises:
        WhaleidError: another process is still writing there after `wait` seconds, or it is the synthetic catalogue.
    """
    if paths.PARAMS.exists() and catalogue.resolve() == paths.SAMPLE.resolve():
        raise WhaleidError(
            f"{catalogue} is the synthetic catalogue: `dvc repro` rebuilds it and would remove your photos. Copy it, "
            f"and add photos to the copy: whaleid import {paths.SAMPLE} --to data/whales"
        )
    new_folders = [folder for folder in (catalogue, *catalogue.parents) if not folder.exists()]
    catalogue.mkdir(parents=True, exist_ok=True)
    try:
        with locks.locked(catalogue / LOCK, wait):
            shutil.rmtree(catalogue / UNPACKED, ignore_errors=True)  # of an import that was killed
            try:
                yield
            finally:
                shutil.rmtree(catalogue / UNPACKED, ignore_errors=True)
                (catalogue / LOCK).unlink(missing_ok=True)
    except Timeout:
        raise WhaleidError(f"Another command is writing to {catalogue}: run this again when it has ended.") from None
    finally:
        for folder in new_folders:
            with suppress(OSError):
                folder.rmdir()


def read(root: Path, sizes: Collection[int]) -> ExistingCatalogue:
    """Read the catalogue folder `root`, which may be incomplete. SHA-256 is computed for files of `sizes` (bytes).

    Raises:
        WhaleidError: `root` is not a catalogue folder, or has mistakes.
    """
    other_files = {path.name for path in root.iterdir() if not is_hidden(path.name)} - {*PARTS, *layout.COLUMNS}
    if other_files and not (root / "train.csv").exists():
        problem = f"{root} is not a catalogue folder: it contains other files"
        raise InputProblems(problem, sorted(other_files), "Choose a new or an empty folder for --to.")
    catalogue = layout.read(root, incomplete=True)
    labelled = catalogue.photos[catalogue.photos["part"] == "train"]
    photos = []
    for part in PARTS:
        for name in layout.photos_in(root / part):
            path = root / part / name
            photos.append(CataloguePhoto(name, part, _sha256(path) if path.stat().st_size in sizes else ""))
    return ExistingCatalogue(
        photos,
        dict(zip(labelled["Image"], labelled["Id"], strict=True)),
        {image: tuple(box) for image, *box in catalogue.boxes.itertuples(index=False)},
        dict(zip(catalogue.solution["Image"], catalogue.solution["Id"], strict=True)),
        {name: read_table(root / name, header(root / name)) for name in layout.COLUMNS if (root / name).is_file()},
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(
    root: Path, plan: Plan, link: bool = False, other_tables: Mapping[str, pd.DataFrame] | None = None
) -> Counter[str]:
    """Write the photos and csv files of `plan`, and `other_tables` by file name, to the catalogue folder `root`.

    If an exception is raised, everything written is removed or restored. Return the number of photos by how they were
    written: `copy`, `hard link` or `symbolic link`.

    Raises:
        WhaleidError: a photo has changed since it was checked.
        OSError: a file cannot be read or written.
    """
    for part in PARTS:  # temporary files of an import that was killed
        for path in (root / part).glob(".*.partial*"):
            path.unlink()
    tables = {**(other_tables or {}), **_tables(plan)}
    content_before = {name: (root / name).read_bytes() for name in tables if (root / name).is_file()}
    counts: Counter[str] = Counter()
    try:
        with ExitStack() as csv_files:  # on exit, it renames the csv files, the last one first
            for (part, name), (file, sha256) in progress(plan.files.items(), "photos written", len(plan.files)):
                with replacing(root / part / name) as temporary:
                    counts[_write_photo(file, temporary, sha256, link, file.is_relative_to(root / UNPACKED))] += 1
            for name, table in reversed(tables.items()):
                write_csv(table, csv_files.enter_context(replacing(root / name)))
    except Exception:
        new_tables = tables.keys() - content_before.keys()
        for path in [*(Path(part, name) for part, name in plan.files), *map(Path, new_tables)]:
            with suppress(OSError):
                (root / path).unlink()
        for name, content in content_before.items():
            with suppress(OSError):
                if (root / name).read_bytes() != content:
                    with replacing(root / name) as temporary:
                        temporary.write_bytes(content)
        for part in PARTS:
            with suppress(OSError):  # it does not exist, or contains other photos
                (root / part).rmdir()
        raise
    return counts


def _write_photo(file: Path, target: Path, sha256: str, link: bool, move: bool) -> str:
    """Copy, `link` or `move` the photo `file` to `target`; return how it was written."""
    if move:
        file.replace(target)
        return "copy"
    if link:
        with suppress(OSError):
            os.link(file.resolve(), target)
            return "hard link"
        target.symlink_to(file.resolve())
        return "symbolic link"
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise WhaleidError(f"{file} has changed since it was checked. Run the same command again.")
    target.write_bytes(content)
    return "copy"


def _tables(plan: Plan) -> dict[str, pd.DataFrame]:
    """Return the csv files that get new rows, with old and new rows, by file name; train.csv is last."""
    tables = plan.existing.tables
    new_queries: set[str] = set()
    if plan.submission or "sample_submission.csv" in tables:
        listed = tables["sample_submission.csv"]["Image"] if "sample_submission.csv" in tables else ()
        new_queries = {*plan.existing.queries, *plan.queries} - {*listed}
    boxes = [[name, *(f"{number:.6g}" for number in box)] for name, box in plan.boxes.items()]
    columns = ["Image", "Id"]
    new_rows = {
        "boxes.csv": pd.DataFrame(boxes, columns=["Image", *CORNERS, "aspect"]),
        "solution.csv": pd.DataFrame(plan.solution.items(), columns=columns),
        "sample_submission.csv": pd.DataFrame([[name, NEW_WHALE] for name in new_queries], columns=columns),
        "train.csv": pd.DataFrame(plan.labels.items(), columns=columns),
    }
    return {
        name: pd.concat([tables.get(name), rows.sort_values("Image")], ignore_index=True).fillna("")
        for name, rows in new_rows.items()
        if len(rows)
    }
