"""Command `import`: make a catalogue folder from photos in any supported source, or add them to one."""

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
    "SOURCE is a folder with one folder per whale, a catalogue folder, a folder with the metadata.csv of "
    "wildlife-datasets, a zip file of one of these, a csv file, a COCO json file, or "
    f"{' or '.join(kaggle.PREFIX + competition for competition in kaggle.COMPETITIONS)}."
)
"""The kinds of sources, for errors."""


def run(source: str, catalogue: Path, columns: csv.Columns, queries: Path | None, link: bool) -> None:
    """Import the photos of `source`, and those in the folder `queries` as queries, into the folder `catalogue`.

    `link` makes links to the photos instead of copies.

    Raises:
        WhaleidError: the source or the catalogue has mistakes. Nothing is written.
    """
    if source.startswith(kaggle.PREFIX):
        path = kaggle.download(source, catalogue.resolve().with_name(f"{catalogue.resolve().name}.download"))
    else:
        path = Path(source).expanduser()
        if not path.exists():
            raise WhaleidError(f"{source} does not exist: correct the path. {SOURCES}")
    for directory in (path, queries):
        if directory is not None and directory.is_dir() and overlap(directory, catalogue):
            raise WhaleidError(f"{directory} and {catalogue} overlap: name another folder with --to.")
    with target.locked(catalogue):
        sources = [read_source(path, catalogue / target.UNPACKED, columns)]
        if queries is not None:
            sources.append(folder.read_queries(queries))
        fingerprints = check(sources)
        existing = target.read(catalogue, {fingerprint.size for fingerprint in fingerprints})
        plan = make_plan(sources, fingerprints, existing)
        counts = target.write(catalogue, plan, link)
    logger.info(_summary(source, catalogue, sources, plan, counts))


def read_source(path: Path, unpacked: Path, columns: csv.Columns) -> Source:
    """Read the source at `path` after inferring its kind. Zip files are unpacked into the folder `unpacked`.

    Raises:
        WhaleidError: `path` is not a source, or has mistakes.
    """
    skipped = 0
    if archives := zip_files([path, *(path / f"{competition}.zip" for competition in kaggle.COMPETITIONS)]):
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
            f"{path} is not a csv file: leave out --photo-column, --whale-column, --box-columns and --photos "
            "(--photos is for COCO json files, too)."
        )
    elif not path.is_dir():
        raise WhaleidError(f"{path} cannot be imported. {SOURCES}")
    elif (path / "train.csv").exists() or all((path / part).is_dir() for part in target.PARTS):
        source = folder.read_catalogue(path)
    else:
        source = folder.read_whales(path)
    return replace(source, skipped_files=source.skipped_files + skipped)


def _unpack_zip(archive: Path, unpacked: Path) -> tuple[Path, int]:
    """Unpack a zip file and those in it; return the folder with the content, and the number of skipped files."""
    skipped, limits = unpack(archive, unpacked, unpack_limits([archive]))
    content = _content_folder(unpacked)
    for part in zip_files(sorted(unpacked.rglob("*"))):
        title = f"{archive}, {part.relative_to(unpacked)}"
        part_skipped, limits = unpack(part, part.parent, limits, title, is_part=True)
        skipped += part_skipped
        part.unlink()
    return content, skipped


def _unpack_parts(folder: Path, unpacked: Path) -> int:
    """Unpack the zip files of a folder and copy its csv files; return the number of skipped files."""
    tables = [folder / name for name in layout.COLUMNS if (folder / name).is_file()]
    parts = zip_files(sorted(folder.iterdir()))
    require_inside(folder, [*tables, *parts])
    skipped, limits = 0, unpack_limits(parts)
    for part in parts:
        part_skipped, limits = unpack(part, unpacked, limits, is_part=True)
        skipped += part_skipped
    for table in tables:
        if not (unpacked / table.name).exists():
            shutil.copy(table, unpacked)
    return skipped


def _content_folder(folder: Path) -> Path:
    """Descend from `folder` while it contains one folder only, and that one contains folders or zip files."""
    match [*folder.iterdir()]:
        case [inner] if inner.is_dir() and (
            zip_files(inner.iterdir()) or any(path.is_dir() for path in inner.iterdir())
        ):
            return _content_folder(inner)
    return folder


def _summary(source: str, catalogue: Path, sources: Sequence[Source], plan: Plan, counts: Counter[str]) -> str:
    """Return the lines that the command prints; `counts` is the number of photos by how they were written."""
    labels, queries, existing = [*plan.labels.values()], len(plan.queries), plan.existing
    added = f"{_labelled(labels)}, {queries:,} queries (photos to identify) and {len(plan.boxes):,} boxes"
    lines = [f"{source}: {sources[0].kind}", f"added {added}"]
    for number, text in (
        (plan.skipped, "photos skipped: already in the catalogue"),
        (sum(s.skipped_files for s in sources), "files skipped: not images"),
        (plan.without_truth, "queries have no true label, so solution.csv is not written"),
        (counts["hard link"], "photos are hard links"),
        (counts["symbolic link"], f"photos are symbolic links: hard links from there to {catalogue} are not possible"),
    ):
        lines += [f"{number:,} {text}"] if number else []
    all_labels, all_queries = [*labels, *existing.labels.values()], queries + len(existing.queries)
    lines.append(f"{catalogue} now contains {_labelled(all_labels)} and {all_queries:,} queries")
    lines += [f"next: whaleid preset real --root {catalogue}"] if paths.PARAMS.exists() else []
    return "\n".join(lines)


def _labelled(labels: Sequence[str]) -> str:
    unnamed, whales = labels.count(NEW_WHALE), len({*labels} - {NEW_WHALE})
    return f"{len(labels):,} labelled photos ({whales:,} whales, {unnamed:,} photos of {NEW_WHALE})"
