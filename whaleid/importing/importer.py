"""Command `import`: make a catalogue folder from photos in any supported source, or add them to one."""

import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from whaleid.catalog import layout
from whaleid.core import paths
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.formats import is_hidden
from whaleid.core.labels import NEW_WHALE
from whaleid.core.log import logger
from whaleid.images.listing import overlap
from whaleid.importing import coco, csv, folder, kaggle, names, target, tree
from whaleid.importing.archive import unpack, unpack_limits, zip_files
from whaleid.importing.checks import FORMAT, accepted, check
from whaleid.importing.layouts import Layout
from whaleid.importing.plan import Plan, make_plan
from whaleid.importing.source import SAVE_AS_CSV, SPREADSHEETS, Photos, Source, require_inside

SOURCES = (
    "SOURCE is a folder with one folder per whale, a folder of photos with a csv or COCO json file beside them, a "
    "catalogue folder, a folder with the metadata.csv of wildlife-datasets, a zip file of one of these, a csv file "
    "(.csv, .tsv or .txt), a COCO json file, or "
    f"{' or '.join(kaggle.PREFIX + competition for competition in kaggle.COMPETITIONS)}."
)
"""The kinds of sources, for errors."""
LISTED = 5
"""Maximum number of whales listed before anything is written."""


@dataclass(frozen=True)
class Options:
    """The user's options for an import."""

    columns: csv.Columns = field(default_factory=csv.Columns)
    layout: Layout | None = None  # what names the whales of a folder's photos; None to infer it
    queries: Path | None = None  # a folder of queries
    keep_names: Sequence[str] = ()  # words that name a whale although they mean none elsewhere
    join_names: bool = False  # whether similar labels are the same whale
    link: bool = False  # whether photos are linked instead of copied
    dry_run: bool = False  # whether nothing is written


def run(source: str, catalogue: Path, options: Options) -> int:
    """Import the photos of `source` into the folder `catalogue`.

    Returns:
        The number of photos that were excluded, because a catalogue does not accept their format.

    Raises:
        WhaleidError: the source or the catalogue has mistakes. Nothing is written.
    """
    if source.startswith(kaggle.PREFIX):
        path = kaggle.download(source, catalogue.resolve().with_name(f"{catalogue.resolve().name}.download"))
    else:
        path = Path(source).expanduser()
        if not path.exists():
            raise WhaleidError(f"{source} does not exist: correct the path. {SOURCES}")
    for directory in (path, options.queries):
        if directory is not None and directory.is_dir() and overlap(directory, catalogue):
            raise WhaleidError(
                f"{directory} and {catalogue} overlap (one contains the other): choose another folder for --to."
            )
    unpacked = catalogue / target.UNPACKED
    with target.locked(catalogue), _naming_zip(source, unpacked):
        sources = [read_source(path, unpacked, options)]
        if options.queries is not None:
            sources.append(folder.read_queries(options.queries))
        sources, notes = names.clean(sources, options.keep_names)
        has_labels = _has_labels(sources)
        sources, excluded = accepted(sources)
        if excluded:
            problem, remedy = FORMAT
            if has_labels and not _has_labels(sources) and not (catalogue / "train.csv").exists():
                all_excluded = "All labelled photos are in a format that a catalogue does not accept"
                raise InputProblems(all_excluded, excluded, remedy)
            warning = InputProblems(f"{problem} are excluded", excluded, remedy)
            logger.warning(str(warning).replace(str(unpacked), source))
        fingerprints = check(sources)
        existing = target.read(catalogue, {fingerprint.size for fingerprint in fingerprints})
        similar = names.similar(sources, existing.labels.values())
        if options.join_names:
            sources = names.join(sources, similar)
        plan = make_plan(sources, fingerprints, existing)
        notes += names.describe(similar, options.join_names)
        logger.info("\n".join([*_overview(source, sources, plan), *notes]).replace(str(unpacked), source))
        counts = Counter[str]() if options.dry_run else target.write(catalogue, plan, options.link)
    if options.dry_run:
        logger.info("nothing was written (--dry-run)")
    else:
        logger.info(_summary(catalogue, plan, counts))
    return len(excluded)


def read_source(path: Path, unpacked: Path, options: Options) -> Source:
    """Read the source at `path` after inferring its kind. Zip files are unpacked into the folder `unpacked`.

    Raises:
        WhaleidError: `path` is not a source, or has mistakes.
    """
    title, skipped, columns = str(path), 0, options.columns
    directory = columns.photos
    index = cache(lambda: Photos(folder.list_photos(directory, strict=False)[0])) if directory else None
    if archives := zip_files([path, *(path / f"{competition}.zip" for competition in kaggle.COMPETITIONS)]):
        skipped = _unpack_zip(archives[0], unpacked)
        path = _content(archives[0], unpacked)
    elif path.is_dir() and not (path / "train").is_dir() and any(p.stem == "train" for p in zip_files(path.iterdir())):
        path, skipped = unpacked, _unpack_parts(path, unpacked)
    elif path.is_dir():
        _refuse_zips(path)
    if options.layout is not None and path.is_file():
        raise WhaleidError(f"{title}: --layout is for folders and their zip files. Leave it out.")
    if path.is_dir():
        source = tree.read(path, title, columns, options.layout)
    elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
        source = csv.read(path, columns, index)
    elif path.suffix.lower() == ".json":
        source = coco.read(path, columns.photos or path.parent, index)
    else:
        remedy = SAVE_AS_CSV if path.suffix.lower() in SPREADSHEETS else f"{SOURCES} Unpack other archives."
        raise WhaleidError(f"{path} cannot be imported: {remedy}")
    return replace(source, skipped_files=source.skipped_files + skipped)


def _has_labels(sources: Sequence[Source]) -> bool:
    return any(entry.label for source in sources for entry in source.entries)


@contextmanager
def _naming_zip(source: str, unpacked: Path) -> Iterator[None]:
    """Name the `source` instead of the folder that it was `unpacked` into in the errors of a block."""
    try:
        yield
    except WhaleidError as error:
        if str(unpacked) not in str(error):
            raise
        raise WhaleidError(str(error).replace(str(unpacked), source)) from None


def _content(archive: Path, unpacked: Path) -> Path:
    """Return the folder that `archive` is a zip file of: the only one in it, if it has the same name."""
    inner = unpacked / archive.stem
    return inner if inner.is_dir() and len([*unpacked.iterdir()]) == 1 else unpacked


def _refuse_zips(root: Path) -> None:
    """Refuse zip files in a folder, except in a catalogue, or next to the folder that they were unpacked into."""
    archives = [path.relative_to(root) for path in zip_files(sorted(root.rglob("*")))]
    archives = [path for path in archives if not any(map(is_hidden, path.parts))]
    archives = [path for path in archives if not (root / path).with_suffix("").is_dir()]
    if archives and not tree.is_catalogue(root):
        remedy = "Unpack them, or zip the folder and import that: the zip files in a zip file are read."
        raise InputProblems(f"{root}: zip files in a folder are not read", [*map(str, archives)], remedy)


def _unpack_zip(archive: Path, unpacked: Path) -> int:
    """Unpack a zip file and those in it; return the number of skipped files."""
    skipped, limits = unpack(archive, unpacked, unpack_limits([archive]))
    for part in zip_files(sorted(unpacked.rglob("*"))):
        title = f"{archive}, {part.relative_to(unpacked)}"
        part_skipped, limits = unpack(part, part.parent, limits, title, is_part=True)
        skipped += part_skipped
        part.unlink()
    return skipped


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


def _overview(source: str, sources: Sequence[Source], plan: Plan) -> list[str]:
    """Return what the user should know before anything is written: whales, photos, and the names to look at."""
    labels = [*plan.labels.values()]
    counts = Counter(label for label in labels if label != NEW_WHALE).most_common(LISTED)
    lines = [
        f"{source}: {sources[0].kind}",
        f"to add: {_labelled(labels)}, {len(plan.queries):,} queries and {len(plan.boxes):,} boxes",
    ]
    if counts:
        lines.append(f"most photos: {', '.join(f'{label} ({count:,})' for label, count in counts)}")
    if unusual := names.unusual({*labels} - {NEW_WHALE})[:LISTED]:
        lines.append(f"names that look different from the others, perhaps errors: {', '.join(unusual)}")
    for number, text in (
        (plan.skipped, "photos skipped: already in the catalogue or repeated in the source"),
        (sum(s.skipped_files for s in sources), "other files skipped"),
        (plan.without_truth, "queries have no true label, so solution.csv is not written"),
    ):
        lines += [f"{number:,} {text}"] if number else []
    return lines + [line for s in sources for line in s.notes]


def _summary(catalogue: Path, plan: Plan, counts: Counter[str]) -> str:
    """Return the lines that are printed at the end; `counts` is the number of photos by how they were written."""
    existing, lines = plan.existing, []
    for number, text in (
        (counts["hard link"], "photos are hard links"),
        (counts["symbolic link"], f"photos are symbolic links: hard links from there to {catalogue} are not possible"),
    ):
        lines += [f"{number:,} {text}"] if number else []
    labels, queries = [*plan.labels.values(), *existing.labels.values()], len(plan.queries) + len(existing.queries)
    lines.append(f"{catalogue} now contains {_labelled(labels)} and {queries:,} queries")
    if paths.PARAMS.exists():
        lines.append(f"next: whaleid preset real --root {shlex.quote(str(catalogue))}")
    return "\n".join(lines)


def _labelled(labels: Sequence[str]) -> str:
    unnamed, whales = labels.count(NEW_WHALE), len({*labels} - {NEW_WHALE})
    return f"{len(labels):,} labelled photos ({whales:,} whales, {unnamed:,} photos of {NEW_WHALE})"
