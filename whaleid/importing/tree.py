"""Read a source that is a folder: its content says how its photos are named, and the user where that is not clear."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from whaleid.catalog.checks import is_file
from whaleid.catalog.table import header
from whaleid.core.errors import WhaleidError
from whaleid.core.formats import is_hidden
from whaleid.importing import coco, csv, folder
from whaleid.importing.layouts import Layout
from whaleid.importing.names import to_label
from whaleid.importing.source import SPREADSHEETS, Source, by_name, note, require_inside

LISTED = 3
"""Maximum number of whales listed for a table."""


def read(root: Path, title: str, columns: csv.Columns, layout: Layout | None) -> Source:
    """Read the photos below `root`, whose whales are named as `layout` says, else in the only plausible way.

    A catalogue and the metadata.csv of wildlife-datasets are read as such. Other tables count if at least half of
    their rows are photos below `root`. Errors call the source `title`.

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
        return csv.read(content / "metadata.csv", columns, photos)
    tables, problem = _read_tables(root, columns, photos)
    if columns != csv.Columns() and not tables:
        raise problem or WhaleidError(
            f"{title}: no csv file lists its photos: leave out --photo-column, --whale-column, --box-columns, --photos."
        )
    if tables and layout in (None, "table"):
        if len(tables) > 1:
            options = "\n".join(f"  {_describe(table)}" for table in tables)
            raise WhaleidError(f"{title}: several files list its photos. Import one of them:\n{options}")
        if layout is None and not _agree(tables[0], root, title):
            raise WhaleidError(
                f"{title}: its table and its folders name different whales. Choose one:\n"
                f"  --layout table: {_describe(tables[0])}\n  --layout folders or --layout subfolders"
            )
        return tables[0]
    if layout == "table":
        raise problem or WhaleidError(f"{title}: no csv or COCO json file lists its photos.")
    try:
        return folder.read_whales(root, title, layout)
    except WhaleidError as error:
        sheets = [path.name for path in sorted(root.rglob("*")) if path.suffix.lower() in SPREADSHEETS]
        hint = f"\n{', '.join(sheets)}: save it as csv, so that it can be read." if sheets else ""
        raise problem or (WhaleidError(f"{error}{hint}") if hint else error) from None


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
    root: Path, columns: csv.Columns, photos: Mapping[str, Sequence[Path]]
) -> tuple[list[Source], WhaleidError | None]:
    """Read the tables below `root` that list its photos; return them, and the error of the first other csv file."""
    tables, problems = [], []
    for path in sorted(root.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in (".csv", ".tsv", ".json") or any(map(is_hidden, path.relative_to(root).parts)):
            continue
        require_inside(root, [path])
        try:
            source = coco.read(path, path.parent, photos) if suffix == ".json" else csv.read(path, columns, photos)
        except WhaleidError as error:
            problems += [] if suffix == ".json" else [error]
            continue
        listed = {entry.file for entry in source.entries if is_file(entry.file)}
        if listed and 2 * len(listed) >= len(source.entries):
            others = [photo for group in photos.values() for photo in group if photo not in listed]
            text = "photos are not in the table and are skipped (--queries DIR imports a folder of queries)"
            lines = note(text, [str(photo.relative_to(root)) for photo in others])
            kind = f"{path.relative_to(root)}, {source.kind}"
            tables.append(replace(source, kind=kind, root=root, notes=[*source.notes, *lines]))
    return tables, next(iter(problems), None)


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
