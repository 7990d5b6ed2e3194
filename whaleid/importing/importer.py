"""Command `import`: turn photos from anywhere into a catalogue folder, or add them to one."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from whaleid.catalog import layout
from whaleid.core import paths
from whaleid.core.errors import WhaleidError
from whaleid.core.labels import NEW_WHALE
from whaleid.core.log import logger
from whaleid.images.listing import overlap
from whaleid.importing import coco, csv, folder, kaggle, target
from whaleid.importing.archive import unpack, unpack_limits, zip_files
from whaleid.importing.checks import check
from whaleid.importing.plan import Plan, make_plan
from whaleid.importing.source import Source, require_inside

SOURCES = (
    "SOURCE is a folder with a folder a whale, a catalogue folder, one with the metadata.csv of wildlife-datasets, a "
    f"zip file of one of these, a csv file, a COCO json, or {' or '.join(kaggle.PREFIX + c for c in kaggle.CONTESTS)}."
)


def run(source: str, to: Path, columns: csv.Columns, queries: Path | None, link: bool) -> None:
    """Put the photos of `source`, and those below `queries` to identify, into the catalogue folder `to`.

    Raises:
        WhaleidError: something is wrong with the source or the catalogue; then nothing is written.
    """
    if source.startswith(kaggle.PREFIX):
        path = kaggle.download(source, to.resolve().with_name(f"{to.resolve().name}.download"))
    else:
        path = Path(source).expanduser()
        if not path.exists():
            raise WhaleidError(f"{source} is not there. {SOURCES}")
    for place in (path, queries):
        if place is not None and place.is_dir() and overlap(place, to):
            raise WhaleidError(f"{place} and {to} overlap: the catalogue needs a folder of its own.")
    with target.locked(to):
        sources = [read_source(path, to / target.UNPACKED, columns)]
        if queries is not None:
            sources.append(folder.read_queries(queries))
        prints = check(sources)
        plan = make_plan(sources, prints, target.read(to, {each.size for each in prints}))
        written = target.write(to, plan, link)
    logger.info(_summary(source, to, sources, plan, written))


def read_source(path: Path, unpacked: Path, columns: csv.Columns) -> Source:
    """Read the source at `path`, by what it looks like; zip files are unpacked into the folder `unpacked`.

    Raises:
        WhaleidError: it is no source, or something is wrong with it.
    """
    skipped = 0
    if archives := zip_files([path, *(path / f"{contest}.zip" for contest in kaggle.CONTESTS)]):
        path, skipped = _unpack_zip(archives[0], unpacked)
    elif path.is_dir() and not (path / "train").is_dir() and any(p.stem == "train" for p in zip_files(path.iterdir())):
        path, skipped = unpacked, _unpack_parts(path, unpacked)
    if path.is_dir() and (path / "metadata.csv").is_file() and not (path / "train.csv").exists():
        require_inside(path, [path / "metadata.csv"])
        path = path / "metadata.csv"
    if path.suffix.lower() == ".csv":
        source = csv.read(path, columns)
    elif path.suffix.lower() == ".json":
        source = coco.read(path, columns.photos or path.parent)
    elif columns != csv.Columns():
        raise WhaleidError(
            f"{path} is no csv file: options for columns and --photos belong to one (--photos to a COCO json as well)."
        )
    elif not path.is_dir():
        raise WhaleidError(f"{path} is none of what can be imported. {SOURCES}")
    elif (path / "train.csv").exists() or all((path / part).is_dir() for part in target.PARTS):
        source = folder.read_catalogue(path)
    else:
        source = folder.read_whales(path)
    return replace(source, skipped_files=source.skipped_files + skipped)


def _unpack_zip(archive: Path, unpacked: Path) -> tuple[Path, int]:
    """Unpack a zip file and those in it; return the folder with its content, and the number of files left out."""
    skipped, left = unpack(archive, unpacked, unpack_limits([archive]))
    content = _content(unpacked)
    for part in zip_files(sorted(unpacked.rglob("*"))):
        title = f"{archive}, {part.relative_to(unpacked)}"
        more, left = unpack(part, part.parent, left, title, part=True)
        skipped += more
        part.unlink()
    return content, skipped


def _unpack_parts(folder: Path, unpacked: Path) -> int:
    """Unpack the zip files of a folder and copy its tables; return the number of files left out."""
    tables = [folder / name for name in layout.COLUMNS if (folder / name).is_file()]
    parts = zip_files(sorted(folder.iterdir()))
    require_inside(folder, [*tables, *parts])
    skipped, left = 0, unpack_limits(parts)
    for part in parts:
        more, left = unpack(part, unpacked, left, part=True)
        skipped += more
    for table in tables:
        if not (unpacked / table.name).exists():
            shutil.copy(table, unpacked)
    return skipped


def _content(place: Path) -> Path:
    """Return the folder `place` or, where it holds nothing but one folder of folders or zip files, that one."""
    match [*place.iterdir()]:
        case [inner] if inner.is_dir() and (
            zip_files(inner.iterdir()) or any(path.is_dir() for path in inner.iterdir())
        ):
            return _content(inner)
    return place


def _summary(source: str, to: Path, sources: Sequence[Source], plan: Plan, written: Counter[str]) -> str:
    """Return the lines that the command prints."""
    labels, queries, existing = [*plan.labels.values()], len(plan.queries), plan.existing
    lines = [f"{source}: {sources[0].kind}", f"added {_count(labels, queries)}; {len(plan.boxes):,} boxes"]
    for number, text in (
        (plan.skipped, "photos skipped: they are there already"),
        (sum(each.skipped_files for each in sources), "files passed over: they are no images"),
        (plan.without_truth, "photos to identify have no truth, so there is no solution.csv"),
        (written["hard link"], "photos are hard links"),
        (written["symbolic link"], f"photos are symbolic links, since hard ones cannot be made from there to {to}"),
    ):
        lines += [f"{number:,} {text}"] if number else []
    lines.append(f"{to} holds {_count([*labels, *existing.labels.values()], queries + len(existing.queries))}")
    lines += [f"next: whaleid preset real --root {to}"] if paths.PARAMS.exists() else []
    return "\n".join(lines)


def _count(labels: Sequence[str], queries: int) -> str:
    unnamed, whales = labels.count(NEW_WHALE), len({*labels} - {NEW_WHALE})
    photos = f"{len(labels):,} labelled photos ({whales:,} whales, {unnamed:,} photos of {NEW_WHALE})"
    return f"{photos} and {queries:,} to identify"
