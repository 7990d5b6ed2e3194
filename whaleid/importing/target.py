"""The catalogue folder that an import writes to: locked, read, and extended by all of a plan or by nothing."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from whaleid.catalog import layout
from whaleid.catalog.table import header, read_table
from whaleid.core import paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.files import replacing, write_csv
from whaleid.core.labels import CORNERS, NEW_WHALE
from whaleid.core.log import progress
from whaleid.importing.plan import ExistingCatalogue, Known, Plan

PARTS = ("train", "test")
LOCK = ".lock"
UNPACKED = ".unpacked"
"""Within the catalogue's folder, where zip files are unpacked."""


@contextmanager
def locked(to: Path, wait: float = 0) -> Iterator[None]:
    """Keep other commands from writing to the catalogue folder `to`; create it, and remove it if it stays empty.

    Raises:
        WhaleidError: another process writes there, even after `wait` seconds, or the folder is the drawn catalogue.
    """
    if paths.PARAMS.exists() and to.resolve() == paths.SAMPLE.resolve():
        raise WhaleidError(
            f"{to} is drawn by the stage `sample`, which would throw away what you put there. Make a copy of it your "
            f"own: whaleid import {paths.SAMPLE} --to data/whales"
        )
    to.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(to / LOCK, timeout=wait):
            shutil.rmtree(to / UNPACKED, ignore_errors=True)  # left by an import that was killed
            try:
                yield
            finally:
                shutil.rmtree(to / UNPACKED, ignore_errors=True)
                (to / LOCK).unlink(missing_ok=True)
    except Timeout:
        raise WhaleidError(f"Another command is writing to {to}: wait until it has ended.") from None
    finally:
        with suppress(OSError):
            to.rmdir()


def read(to: Path, sizes: Collection[int]) -> ExistingCatalogue:
    """Read the catalogue folder `to`, complete or not; of photos with `sizes` (bytes) the SHA-256 as well.

    Raises:
        WhaleidError: it is no catalogue folder, or one with mistakes.
    """
    others = {path.name for path in to.iterdir() if not path.name.startswith(".")} - {*PARTS, *layout.COLUMNS}
    if others and not (to / "train.csv").exists():
        what = f"{to} holds other things than a catalogue"
        raise InputProblems(what, sorted(others), "Name an empty folder, or a new one.")
    for part in PARTS:  # temporary files of an import that was killed
        for path in (to / part).glob(".*.partial*"):
            path.unlink()
    catalogue = layout.read(to, incomplete=True)
    labelled = catalogue.photos[catalogue.photos["part"] == "train"]
    places = [(part, name, to / part / name) for part in PARTS for name in layout.photos_in(to / part)]
    return ExistingCatalogue(
        [Known(name, part, _sha256(path) if path.stat().st_size in sizes else "") for part, name, path in places],
        dict(zip(labelled["Image"], labelled["Id"], strict=True)),
        {image: tuple(box) for image, *box in catalogue.boxes.itertuples(index=False)},
        dict(zip(catalogue.solution["Image"], catalogue.solution["Id"], strict=True)),
        {name: read_table(to / name, header(to / name)) for name in layout.COLUMNS if (to / name).is_file()},
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(to: Path, plan: Plan, link: bool = False, more: Mapping[str, pd.DataFrame] | None = None) -> Counter[str]:
    """Write photos and csv files as `plan` says, and the tables of `more` by file name; count photos by how.

    Csv files get their names last. If anything fails, all that was written is undone.

    Raises:
        WhaleidError: a photo has changed since it was checked.
        OSError: something cannot be read or written.
    """
    tables = {**(more or {}), **_tables(plan)}
    before = {name: (to / name).read_bytes() for name in tables if (to / name).is_file()}
    written: Counter[str] = Counter()
    try:
        with ExitStack() as renamed:  # closing it renames the csv files, the last one first
            for (part, name), (file, sha256) in progress(plan.files.items(), "photos written", len(plan.files)):
                with replacing(to / part / name) as temporary:
                    written[_write(file, temporary, sha256, link, file.is_relative_to(to / UNPACKED))] += 1
            for name, table in reversed(tables.items()):
                write_csv(table, renamed.enter_context(replacing(to / name)))
    except Exception:
        for path in [*(Path(*place) for place in plan.files), *map(Path, tables.keys() - before.keys())]:
            with suppress(OSError):
                (to / path).unlink()
        for name, content in before.items():
            with suppress(OSError):
                if (to / name).read_bytes() != content:
                    with replacing(to / name) as temporary:
                        temporary.write_bytes(content)
        for part in PARTS:
            with suppress(OSError):  # it is not there, or holds other photos
                (to / part).rmdir()
        raise
    return written


def _write(file: Path, target: Path, sha256: str, link: bool, unpacked: bool) -> str:
    """Copy the photo `file` to `target`, `link` it, or move an `unpacked` one; return which was done."""
    if unpacked:
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
        raise WhaleidError(f"{file}: has changed since it was checked: run the same command again.")
    target.write_bytes(content)
    return "copy"


def _tables(plan: Plan) -> dict[str, pd.DataFrame]:
    """Return the csv files that get new rows, with those that they have; train.csv last."""
    tables = plan.existing.tables
    unanswered: set[str] = set()
    if plan.submission or "sample_submission.csv" in tables:
        answered = tables["sample_submission.csv"]["Image"] if "sample_submission.csv" in tables else ()
        unanswered = {*plan.existing.queries, *plan.queries} - {*answered}
    boxes = [[name, *(f"{number:.6g}" for number in box)] for name, box in plan.boxes.items()]
    columns = ["Image", "Id"]
    new = {
        "boxes.csv": pd.DataFrame(boxes, columns=["Image", *CORNERS, "aspect"]),
        "solution.csv": pd.DataFrame(plan.solution.items(), columns=columns),
        "sample_submission.csv": pd.DataFrame([[name, NEW_WHALE] for name in unanswered], columns=columns),
        "train.csv": pd.DataFrame(plan.labels.items(), columns=columns),
    }
    return {
        name: pd.concat([tables.get(name), rows.sort_values("Image")], ignore_index=True).fillna("")
        for name, rows in new.items()
        if len(rows)
    }
