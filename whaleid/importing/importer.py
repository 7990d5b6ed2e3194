"""Command `import`: photos from wherever they are become a catalogue folder, or more photos of one."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
from filelock import FileLock, Timeout

from whaleid.catalog import layout
from whaleid.catalog.checks import CORNERS, SUFFIXES, is_file
from whaleid.catalog.table import header, read_table
from whaleid.core import paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.files import replacing, write_csv
from whaleid.core.labels import NEW_WHALE
from whaleid.core.log import progress
from whaleid.images import scanning
from whaleid.images.fingerprint import Fingerprint
from whaleid.importing import coco, csv, folder, kaggle
from whaleid.importing.archive import unpack
from whaleid.importing.plan import Held, Plan, Seen, Standing, faults, nameable, plan
from whaleid.importing.source import Source, escaping, require_inside

UNPACKED = ".unpacked"
"""Within the catalogue's folder, where zip files are unpacked."""
LOCK = ".lock"
PARTS = ("train", "test")
LOOKED_FOR = (
    "SOURCE is a folder with a folder a whale, a catalogue folder, one with the metadata.csv of wildlife-datasets, a "
    "zip file of one of these, a csv file, a COCO json, or "
    f"{' or '.join(kaggle.PREFIX + contest for contest in kaggle.CONTESTS)}."
)


Written = Literal["copy", "hard link", "symbolic link"]


@dataclass(frozen=True)
class Put:
    """What became of photos that were put into a catalogue."""

    names: Sequence[str]
    """Of each photo, its name in the catalogue."""
    plan: Plan
    held: Held
    """What was there before."""
    written: Counter[Written]
    """Photos by how they were written."""


def run(source: str, to: Path, said: csv.Columns, queries: Path | None, link: bool) -> None:
    """Put the photos of `source`, and those below `queries` to identify, into the catalogue folder `to`.

    Raises:
        WhaleidError: something of the source or the catalogue is not as it should be; then nothing is written.
    """
    if source.startswith(kaggle.PREFIX):
        path = kaggle.fetch(source, to.resolve().with_name(f"{to.resolve().name}.download"))
    else:
        path = Path(source).expanduser()
        if not path.exists():
            raise WhaleidError(f"{source} is not there. {LOOKED_FOR}")
    for place in (path, queries):
        if place is not None and place.is_dir() and (_within(place, to) or _within(to, place)):
            raise WhaleidError(f"{place} and {to} overlap: the catalogue needs a folder of its own.")
    with alone(to):
        try:
            shutil.rmtree(to / UNPACKED, ignore_errors=True)  # of an import that was killed
            read = [_read(path, to / UNPACKED, said)]
            if queries is not None:
                read.append(folder.queries(queries))
            done = put(to, read, link)
        finally:
            shutil.rmtree(to / UNPACKED, ignore_errors=True)
        print(_summary(source, to, read, done))


def _read(path: Path, unpacked: Path, said: csv.Columns) -> Source:
    """Return what `path` holds, taken for what it looks like."""
    others = 0
    contests = [path / f"{contest}.zip" for contest in kaggle.CONTESTS]
    if archives := [each for each in [path, *contests] if each.suffix.lower() == ".zip" and each.is_file()]:
        others = unpack(archives[0], unpacked)
        path = _inner(unpacked)
    elif (path / "train.zip").is_file() and not (path / "train").is_dir():
        archives = sorted(path.glob("*.zip"))
        require_inside(path, [*archives, *(path / table for table in layout.COLUMNS)])
        for archive in archives:
            others += unpack(archive, unpacked, named=True)
        for table in layout.COLUMNS:
            if (path / table).is_file() and not (unpacked / table).exists():
                shutil.copy(path / table, unpacked / table)
        path = unpacked
    if path.is_dir() and (path / "metadata.csv").is_file() and not (path / "train.csv").exists():
        require_inside(path, [path / "metadata.csv"])
        path = path / "metadata.csv"
    if path.suffix.lower() == ".csv":
        found = csv.rows(path, said)
    elif path.suffix.lower() == ".json":
        found = coco.images(path, path.parent if said.photos is None else said.photos)
    elif said != csv.Columns():
        raise WhaleidError(
            f"{path} is no csv file: columns and --photos are said of one (--photos of a COCO json as well)."
        )
    elif not path.is_dir():
        raise WhaleidError(f"{path} is none of what can be imported. {LOOKED_FOR}")
    else:
        catalogue = (path / "train.csv").exists() or all((path / part).is_dir() for part in PARTS)
        found = folder.catalogue(path) if catalogue else folder.by_whale(path)
    return replace(found, others=found.others + others)


def _inner(folder: Path) -> Path:
    """Return `folder` or, where all of it lies in one folder that holds folders, that one."""
    there = list(folder.iterdir())
    if len(there) == 1 and there[0].is_dir() and any(path.is_dir() for path in there[0].iterdir()):
        return _inner(there[0])
    return folder


Tables = Mapping[str, pd.DataFrame]
"""By the name of their csv file."""


def put(
    to: Path, sources: Sequence[Source], link: bool = False, more: Callable[[Plan], Tables] = lambda plan: {}
) -> Put:
    """Put the photos of `sources` into the catalogue folder `to`, all or, where anything is wrong, none.

    A photo keeps its name; where another one has it, a part of its SHA-256 comes in. What is there already is skipped,
    no label there changes, and the csv files, with those that `more` makes of the plan, are written last. Called while
    the folder is held `alone`.

    Raises:
        WhaleidError: photos, names, labels or boxes that cannot be taken, all of them.
        OSError: something cannot be read or written.
    """
    tables, held = _held(to)
    entries = [entry for source in sources for entry in source.entries]
    seen = _checked(sources)
    found = plan(entries, seen, held, [source.keyed for source in sources for _ in source.entries])
    loose = [each.name for each in held.photos if each.label is None and each.name not in found.labels]
    if loose:
        raise InputProblems(
            f"Photos in {to / 'train'} without a row in train.csv",
            loose,
            "Finish the import that brought them here, or take them out.",
        )
    if not found.labels and not any(each.label for each in held.photos):
        raise WhaleidError(f"There are no labelled photos, and none in {to}: a catalogue needs some.")
    written: Counter[Written] = Counter()
    submission = any(source.submission for source in sources)
    changed = {**more(found), **_extended(to, tables, found, held, submission)}
    before = {name: (to / name).read_bytes() if (to / name).is_file() else None for name in changed}
    try:
        with ExitStack() as renamed:  # at its end csv files get their names, in their order: the reverse of entering
            for (part, name), number in progress(found.files.items(), "photos written", len(found.files)):
                file = entries[number].file
                with replacing(to / part / name) as temporary:
                    written[_write(file, temporary, seen[number].sha256, link, file.is_relative_to(to / UNPACKED))] += 1
            for name, table in reversed(changed.items()):
                write_csv(table, renamed.enter_context(replacing(to / name)))
    except Exception:
        _undo(to, found, before)
        raise
    layout.read(to)
    return Put(found.names, found, held, written)


def _undo(to: Path, plan: Plan, before: Mapping[str, bytes | None]) -> None:
    """Take out the photos that were written, and put csv files back, those that were not there as None."""
    for name, content in before.items():
        with suppress(OSError):
            if content is None:
                (to / name).unlink()
            elif (to / name).read_bytes() != content:
                with replacing(to / name) as temporary:
                    temporary.write_bytes(content)
    for part, name in plan.files:
        with suppress(OSError):
            (to / part / name).unlink()
    for part in PARTS:
        with suppress(OSError):  # it is not there, or holds others
            (to / part).rmdir()


def _checked(sources: Sequence[Source]) -> list[Seen]:
    """Return what the files of all photos are, once nothing is wrong with any of them."""
    problems: list[WhaleidError] = []
    files = []
    for source in sources:
        problems += faults(source.entries)
        entries = [entry for entry in source.entries if nameable(entry.file)]
        if outside := [*escaping(source.root, entries)]:
            problems += outside
            continue
        if lost := [entry.where for entry in entries if not is_file(entry.file)]:
            remedy = f"They are looked for below {source.root}; --photos DIR names another folder."
            problems.append(InputProblems("Photos that are not there", lost, remedy))
        files += [entry.file for entry in entries if entry.file.suffix.lower() in SUFFIXES and is_file(entry.file)]
    read = scanning.scan(files, scanning.CATALOGUE)
    if unreadable := [each for each in read if isinstance(each, str)]:
        problems.append(
            InputProblems(
                "Photos that cannot be used", unreadable, "Replace these files, or take them out of the source."
            )
        )
    if problems:
        raise problems[0] if len(problems) == 1 else WhaleidError("\n\n".join(map(str, problems)))
    return [Seen(each.sha256, each.width, each.height) for each in read if isinstance(each, Fingerprint)]


def _held(to: Path) -> tuple[dict[str, pd.DataFrame], Held]:
    """Return the csv files of the catalogue folder `to`, all columns as text, and what it holds, complete or not.

    Raises:
        WhaleidError: it is no catalogue folder, or one with mistakes.
    """
    strange = [path.name for path in to.iterdir() if not path.name.startswith(".")]
    if not (to / "train.csv").exists() and (strange := sorted({*strange} - {*PARTS, *layout.COLUMNS})):
        raise InputProblems(f"{to} holds other things than a catalogue", strange, "Name an empty folder, or a new one.")
    for part in PARTS:  # what an import left that was killed
        for path in (to / part).glob(".*.partial*"):
            path.unlink()
    found = layout.read(to, unfinished=True)
    tables = {name: read_table(to / name, header(to / name)) for name in layout.COLUMNS if (to / name).is_file()}
    labels = dict(zip(found.photos["Image"], found.photos["Id"], strict=True))
    there = [(part, name) for part in PARTS for name in layout.photos_in(to / part)]
    read = scanning.scan([to / part / name for part, name in there], scanning.CATALOGUE)
    if unreadable := [each for each in read if isinstance(each, str)]:
        raise InputProblems("Photos of the catalogue that cannot be used", unreadable, "Replace these files.")
    photos = [
        Standing(name, part, Seen(each.sha256, each.width, each.height), labels.get(name))
        for (part, name), each in zip(there, read, strict=True)
        if isinstance(each, Fingerprint)
    ]
    shape = {each.name: each.seen.width / each.seen.height for each in photos}
    boxes = {
        row["Image"]: (*(row[corner] for corner in CORNERS), row.get("aspect", shape[row["Image"]]))
        for row in found.boxes.to_dict("records")
    }
    return tables, Held(photos, boxes, dict(zip(found.solution["Image"], found.solution["Id"], strict=True)))


def _write(file: Path, target: Path, sha256: str, link: bool, ours: bool) -> Written:
    """Write the photo `file` to `target` or, with `link`, link it; what is `ours` and soon gone need not be copied."""
    if link or ours:
        with suppress(OSError):
            os.link(file.resolve(), target)
            return "copy" if ours else "hard link"
        if not ours:
            target.symlink_to(file.resolve())
            return "symbolic link"
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise WhaleidError(f"{file}: has changed since it was checked: run the same command again.")
    target.write_bytes(content)
    return "copy"


def _extended(
    to: Path, tables: dict[str, pd.DataFrame], found: Plan, held: Held, submission: bool
) -> dict[str, pd.DataFrame]:
    """Return the csv files that get new rows, with all that they had; train.csv last, without which there are none."""
    queries = {each.name for each in held.photos if each.part == "test"}
    queries |= {name for part, name in found.files if part == "test"}
    asked: dict[str, str] = {}
    if submission or "sample_submission.csv" in tables:
        answered = tables.get("sample_submission.csv", pd.DataFrame(columns=["Image"]))["Image"]
        asked = dict.fromkeys(queries - {*answered}, NEW_WHALE)
    boxes = {name: [f"{number:.6g}" for number in box] for name, box in found.boxes.items()}
    if "boxes.csv" in tables and "aspect" not in tables["boxes.csv"]:
        own = [f"{held.boxes[name][-1]:.6g}" for name in tables["boxes.csv"]["Image"]]
        tables = tables | {"boxes.csv": tables["boxes.csv"].assign(aspect=own)}
    new = {
        "boxes.csv": pd.DataFrame([[name, *box] for name, box in boxes.items()], columns=["Image", *CORNERS, "aspect"]),
        "solution.csv": pd.DataFrame(found.solution.items(), columns=["Image", "Id"]),
        "sample_submission.csv": pd.DataFrame(asked.items(), columns=["Image", "Id"]),
        "train.csv": pd.DataFrame(found.labels.items(), columns=["Image", "Id"]),
    }
    return {
        name: pd.concat([tables.get(name), rows.sort_values("Image")], ignore_index=True).fillna("")
        for name, rows in new.items()
        if len(rows)
    }


@contextmanager
def alone(to: Path, wait: float = 0) -> Iterator[None]:
    """Keep others from writing into the catalogue folder `to`, which is made if need be and removed if nothing came.

    Raises:
        WhaleidError: another process writes there, also after `wait` seconds, or the folder is the drawn catalogue.
    """
    if paths.PARAMS.exists() and to.resolve() == paths.SAMPLE.resolve():
        raise WhaleidError(
            f"{to} is drawn by the stage `sample`, which would throw away what you put there. Make a copy of it your "
            f"own: whaleid import {paths.SAMPLE} --to data/whales"
        )
    to.mkdir(parents=True, exist_ok=True)
    lock = to / LOCK
    try:
        with FileLock(lock, timeout=wait):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except Timeout:
        raise WhaleidError(f"Another command is writing to {to}: wait until it has ended.") from None
    finally:
        with suppress(OSError):
            to.rmdir()


def _summary(source: str, to: Path, sources: Sequence[Source], done: Put) -> str:
    added = [*done.plan.labels.values()]
    asked = sum(part == "test" for part, _ in done.plan.files)
    others = sum(each.others for each in sources)
    said = [f"{source}: {sources[0].kind}", f"added {_counted(added, asked)}; {len(done.plan.boxes):,} boxes"]
    if done.plan.skipped:
        said.append(f"{done.plan.skipped:,} photos skipped: they are there already")
    if others:
        said.append(f"{others:,} files passed over: they are no images")
    if done.plan.untold:
        said.append(f"no solution.csv: {done.plan.untold:,} photos to identify have no truth")
    if hard := done.written["hard link"]:
        said.append(f"{hard:,} photos are hard links")
    if symbolic := done.written["symbolic link"]:
        said.append(f"{symbolic:,} photos are symbolic links, since hard ones cannot be made from there to {to}")
    labels = [*added, *(each.label for each in done.held.photos if each.label)]
    asked += sum(each.part == "test" for each in done.held.photos)
    following = [f"next: whaleid preset real --root {to}"] if paths.PARAMS.exists() else []
    return "\n".join([*said, f"{to} holds {_counted(labels, asked)}", *following])


def _counted(labels: Sequence[str], asked: int) -> str:
    unnamed = labels.count(NEW_WHALE)
    return (
        f"{len(labels):,} labelled photos ({len({*labels} - {NEW_WHALE}):,} whales, {unnamed:,} photos of {NEW_WHALE}) "
        f"and {asked:,} to identify"
    )


def _within(inner: Path, outer: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())
