"""Read a source that is a folder: its content says how its photos are named, and the user where that is not clear."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from whaleid.catalog.checks import is_file
from whaleid.catalog.table import header
from whaleid.core.errors import WhaleidError, first_line
from whaleid.core.formats import is_hidden
from whaleid.importing import coco, csv, folder
from whaleid.importing.layouts import Layout, readings
from whaleid.importing.names import to_label
from whaleid.importing.source import SAVE_AS_CSV, SPREADSHEETS, Source, by_name, note, require_inside

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
    content = _content_folder(root)
    if layout is None and columns == csv.Columns() and is_catalogue(content):
        return folder.read_catalogue(content)
    photos = by_name(folder.list_photos(root)[0])
    if layout is None and (content / "metadata.csv").is_file():
        require_inside(root, [content / "metadata.csv"])
        try:
            return csv.read(content / "metadata.csv", columns, photos)
        except WhaleidError as error:
            raise _joined(str(error), ["--layout folders or --layout subfolders imports without this table."]) from None
    tables, problems = _read_tables(root, columns, photos, 0 if layout == "table" else MIN_SHARE)
    if columns != csv.Columns() and not tables:
        remedy = "leave out --photo-column, --whale-column, --box-columns, --photos."
        raise _joined(f"{title}: no csv file lists its photos: {remedy}", problems)
    if tables and layout in (None, "table"):
        if len(tables) > 1:
            options = "\n".join(f"  {_describe(table)}" for table in tables)
            raise WhaleidError(f"{title}: several files list its photos. Import one of them:\n{options}")
        if layout is None and not _agree(tables[0], root, title):
            outer, inner = readings([photo.relative_to(root) for group in photos.values() for photo in group])
            by_folder = [outer.describe(), *([inner.describe()] if inner.whales != outer.whales else [])]
            options = "\n".join(f"  {option}" for option in (f"--layout table: {_describe(tables[0])}", *by_folder))
            raise WhaleidError(
                f"{title}: its table and its folders name different whales. Add one of these options:\n{options}"
            )
        return tables[0]
    if layout == "table":
        raise _joined(
            f"{title}: no csv or COCO json file lists its photos. Import a table itself, or leave out --layout.",
            problems,
        )
    try:
        source = folder.read_whales(root, title, layout)
    except WhaleidError as error:
        sheets = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in SPREADSHEETS]
        raise _joined(str(error), [*(f"{path}: {SAVE_AS_CSV}" for path in sheets), *problems]) from None
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
    """Descend from `root` while it contains one folder only."""
    match [path for path in root.iterdir() if not is_hidden(path.name)]:
        case [inner] if inner.is_dir():
            return _content_folder(inner)
    return root


def _read_tables(
    root: Path, columns: csv.Columns, photos: Mapping[str, Sequence[Path]], min_share: float
) -> tuple[list[Source], list[str]]:
    """Read the tables below `root` that list its photos; return them, and why the other csv files are not among them.

    A table lists the photos if the share of its rows that are photos below `root` is above 0 and at least `min_share`.
    """
    tables, problems = [], []
    for path in sorted(root.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in (".csv", ".tsv", ".json") or any(map(is_hidden, path.relative_to(root).parts)):
            continue
        require_inside(root, [path])
        try:
            source = coco.read(path, path.parent, photos) if suffix == ".json" else csv.read(path, columns, photos)
        except WhaleidError as error:
            problems += [] if suffix == ".json" else [str(error)]
            continue
        listed = {entry.file for entry in source.entries if is_file(entry.file)}
        if not listed or len(listed) < min_share * len(source.entries):
            counts = f"{len(listed):,} of its {len(source.entries):,} rows"
            problems.append(f"{path}: only {counts} are photos in the folder; --layout table shows the others")
        else:
            others = [photo for group in photos.values() for photo in group if photo not in listed]
            text = "photos are not in the table and are skipped (--queries DIR imports a folder of queries)"
            lines = note(text, [str(photo.relative_to(root)) for photo in others])
            kind = f"{path.relative_to(root)}, {source.kind}"
            tables.append(replace(source, kind=kind, root=root, notes=[*source.notes, *lines]))
    return tables, problems


def _joined(problem: str, details: Sequence[str]) -> WhaleidError:
    return WhaleidError("\n".join([problem, *details]))


def _agree(table: Source, root: Path, title: str) -> bool:
    """Return whether the folders below `root` name no whales, or the same ones as `table`."""
    try:
        by_folder = folder.read_whales(root, title)
    except WhaleidError:
        return True
    labels = {entry.file: to_label(entry.label or entry.truth) for entry in by_folder.entries}
    listed = {entry.file: to_label(entry.label or entry.truth) for entry in table.entries}
    return len({*labels.values()}) < 2 or labels.items() <= listed.items()


def _describe(table: Source) -> str:
    whales = sorted({entry.label or entry.truth for entry in table.entries})
    names = ", ".join(map(repr, whales[:LISTED])) + (", …" if len(whales) > LISTED else "")
    return f"{table.kind}: {len(whales):,} whales ({names}), {len(table.entries):,} photos"
