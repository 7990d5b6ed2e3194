"""Read a source that is a folder: its content says how its photos are named, and the user where that is not clear."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from whaleid.catalog.checks import is_file
from whaleid.catalog.table import header
from whaleid.core.errors import WhaleidError, first_line
from whaleid.core.formats import is_hidden, is_photo
from whaleid.core.labels import NEW_WHALE
from whaleid.importing import coco, csv, folder
from whaleid.importing.layouts import Layout, readings
from whaleid.importing.names import to_label
from whaleid.importing.source import SAVE_AS_CSV, SPREADSHEETS, Photos, Source, note, require_inside

TABLES = (".csv", ".tsv", ".txt", ".json")
"""Suffixes of the tables that are read. A .txt file is a table if its header has several columns."""
MIN_SHARE = 0.5
"""Minimum share of the rows of a table that are photos of the folder, so that the table counts as its list."""
LISTED = 3
"""Maximum number of whales listed for a table."""


def read(root: Path, title: str, columns: csv.Columns, layout: Layout | None) -> Source:
    """Read the photos below `root`, whose whales are named as `layout` says, else in the only plausible way.

    A catalogue and the metadata.csv of wildlife-datasets are read as such. Other tables count if at least half of
    their rows are photos below `root`, or if `layout` is `table`. Errors call the source `title`.

    Raises:
        WhaleidError: there are no photos or, without `layout`, not exactly one way is plausible.
        InputProblems: links to folders, or photos that are not in the folder of a whale.
    """
    source = _read(root, title, columns, layout)
    text = "spreadsheets cannot be read (save them as csv to import them)"
    return replace(source, notes=[*source.notes, *note(text, [str(path) for path in _spreadsheets(root)])])


def _read(root: Path, title: str, columns: csv.Columns, layout: Layout | None) -> Source:
    content = _content_folder(root)
    if columns == csv.Columns() and is_catalogue(content):
        if layout is not None:
            raise WhaleidError(f"{title} is a catalogue or a Kaggle competition: leave out --layout.")
        return folder.read_catalogue(content)
    photos = Photos(folder.list_photos(root)[0])
    if layout is None and (content / "metadata.csv").is_file():
        require_inside(root, [content / "metadata.csv"])
        try:
            return csv.read(content / "metadata.csv", columns, lambda: photos)
        except WhaleidError as error:
            raise _joined(str(error), ["--layout folders or --layout subfolders imports without this table."]) from None
    tables, problems = _read_tables(root, columns, photos, 0 if layout == "table" else MIN_SHARE)
    if columns != csv.Columns() and not tables:
        remedy = "leave out --photo-column, --whale-column, --box-columns, --photos."
        raise _joined(f"{title}: no csv file lists its photos: {remedy}", problems)
    if tables and layout in (None, "table"):
        if len(tables) > 1:
            options = "\n".join(f"  {_describe(table)}" for table in tables)
            unpack = "Unpack the zip file, then import" if title.lower().endswith(".zip") else "Import"
            remedy = f"{unpack} one of them, or each into the same --to:"
            raise WhaleidError(f"{title}: several files list its photos. {remedy}\n{options}")
        if layout is None and (problem := _disagreement(tables[0], root, title)):
            outer, inner = readings([photo.relative_to(root) for photo in photos.files])
            by_folder = [outer.describe(), *([inner.describe()] if inner.whales != outer.whales else [])]
            options = "\n".join(f"  {option}" for option in (f"--layout table: {_describe(tables[0])}", *by_folder))
            raise WhaleidError(f"{title}: {problem}. Add one of these options:\n{options}")
        return tables[0]
    if layout == "table":
        raise _joined(
            f"{title}: no csv or COCO json file lists its photos. Import a table itself, or leave out --layout.",
            problems,
        )
    sheets = [f"{path}: {SAVE_AS_CSV}" for path in _spreadsheets(root)]
    try:
        source = folder.read_whales(root, title, layout)
    except WhaleidError as error:
        raise _joined(str(error), [*sheets, *problems]) from None
    whales = {entry.label or entry.truth for entry in source.entries}
    if layout is None and len(whales) == 1 and (sheets or problems):
        problem = f"{title}: its folders name only one whale, {whales.pop()!r}, and its tables cannot be used"
        remedy = "Correct a table, or add --layout folders to import without them."
        raise _joined(f"{problem}. {remedy}", [*sheets, *problems])
    return replace(
        source,
        notes=[*source.notes, *note("tables are not used", [first_line(problem).rstrip(".") for problem in problems])],
    )


def is_catalogue(root: Path) -> bool:
    """Return whether `root` is a folder in the layout of a catalogue, complete or not."""
    if not (root / "train").is_dir():
        return False
    if (root / "train.csv").exists():
        return {"Image", "Id"} <= {*header(root / "train.csv")}
    return (root / "test").is_dir() and not any(path.is_dir() for path in (root / "train").iterdir())


def _content_folder(root: Path) -> Path:
    """Descend from `root` while it contains only one folder, apart from files that are not photos or tables."""
    paths = [path for path in root.iterdir() if not is_hidden(path.name)]
    match [path for path in paths if path.is_dir() or path.suffix.lower() in (".csv", ".json") or is_photo(path)]:
        case [inner] if inner.is_dir():
            return _content_folder(inner)
    return root


def _spreadsheets(root: Path) -> list[Path]:
    paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in SPREADSHEETS]
    return [path for path in paths if not any(map(is_hidden, path.relative_to(root).parts))]


def _read_tables(root: Path, columns: csv.Columns, photos: Photos, min_share: float) -> tuple[list[Source], list[str]]:
    """Read the tables below `root` that list its photos; return them, and why the others are not among them.

    A table lists the photos if the share of its rows that are photos below `root` is above 0 and at least `min_share`.
    If `min_share` is 0 and no table has such rows, all tables that can be read are returned, so that the missing photos
    are reported.
    """
    tables, without_photos, problems = [], [], []
    for path in sorted(root.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in TABLES or any(map(is_hidden, path.relative_to(root).parts)):
            continue
        require_inside(root, [path])
        if suffix == ".txt" and not _has_columns(path):
            continue
        try:
            if suffix == ".json":
                source = coco.read(path, path.parent, lambda: photos)
            else:
                source = csv.read(path, columns, lambda: photos)
        except coco.NotCocoError:
            continue
        except WhaleidError as error:
            problems.append(str(error))
            continue
        listed = {entry.file for entry in source.entries if is_file(entry.file)}
        kind = f"{path.relative_to(root)}, {source.kind}"
        if not listed and min_share == 0:
            without_photos.append(replace(source, kind=kind, root=root))
        elif not listed or len(listed) < min_share * len(source.entries):
            counts = f"{len(listed):,} of its {len(source.entries):,} rows"
            problems.append(f"{path}: only {counts} are photos in the folder; --layout table shows the others")
        else:
            others = [photo for photo in photos.files if photo not in listed]
            text = "photos are not in the table and are skipped (--queries DIR imports a folder of queries)"
            lines = note(text, [str(photo.relative_to(root)) for photo in others])
            tables.append(replace(source, kind=kind, root=root, notes=[*source.notes, *lines]))
    return tables or without_photos, problems


def _has_columns(path: Path) -> bool:
    """Return whether a text file can be read as a table of several columns."""
    try:
        return len(header(path)) > 1
    except WhaleidError:
        return False


def _joined(problem: str, details: Sequence[str]) -> WhaleidError:
    return WhaleidError("\n".join([problem, *details]))


def _disagreement(table: Source, root: Path, title: str) -> str:
    """Describe how the whales that the folders below `root` name differ from `table`; no text if they do not."""
    try:
        by_folder = folder.read_whales(root, title)
    except WhaleidError:  # the folders name no whales
        return ""
    labels = {entry.file: to_label(entry.label or entry.truth) or NEW_WHALE for entry in by_folder.entries}
    listed = {entry.file: to_label(entry.label or entry.truth) or NEW_WHALE for entry in table.entries}
    if len({*labels.values()}) < 2 or labels.items() <= listed.items():
        return ""
    common = labels.keys() & listed.keys()
    if any(labels[photo] != listed[photo] for photo in common):
        return "its table and its folders name different whales"
    return f"its table lists only {len(common):,} of {len(labels):,} photos"


def _describe(table: Source) -> str:
    whales = sorted({(entry.label or entry.truth).strip() or NEW_WHALE for entry in table.entries})
    names = ", ".join(map(repr, whales[:LISTED])) + (", …" if len(whales) > LISTED else "")
    return f"{table.kind}: {len(whales):,} whales ({names}), {len(table.entries):,} photos"
