"""Read sources that are folders: one folder per whale, a catalogue, or queries."""

import os
from pathlib import Path

from whaleid.catalog import layout
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.formats import is_hidden, is_photo
from whaleid.importing import layouts
from whaleid.importing.layouts import Layout
from whaleid.importing.source import Entry, Rectangle, Source, require_inside


def read_whales(root: Path, title: str, layout: Layout | None = None) -> Source:
    """Read the photos in the folders of `root`, which name their whales as `layout` says; errors call it `title`.

    Raises:
        WhaleidError: there are no photos, or without `layout`, not exactly one layout is plausible.
        InputProblems: photos are not in the folder of a whale, or there are links to folders.
    """
    files, skipped = list_photos(root)
    if not files:
        raise WhaleidError(
            f"{title} contains no photos to import. It needs one of: a folder for each whale, with its photos; "
            "train.csv and train/ or train.zip (a catalogue or Kaggle competition); metadata.csv (wildlife-datasets)."
        )
    if top_level := [repr(path.name) for path in files if path.parent == root]:
        raise InputProblems(
            f"Photos directly in {title}, not in the folder of a whale",
            top_level,
            "Move each into a folder named after its whale, or into a folder new_whale. Import queries (photos to "
            "identify) with --queries DIR. If a csv file lists the photos, import that file.",
        )
    names = [path.relative_to(root) for path in files]
    reading = layouts.choose(title, names, layout)
    if unnamed := [repr(str(name)) for name in names if not reading.whales[name] and name not in reading.queries]:
        raise InputProblems(
            f"Photos of {title} that are not in the folder of a whale",
            unnamed,
            "Move each into a folder named after its whale, or into a folder new_whale.",
        )
    entries = []
    for name in names:
        whale, is_query = reading.whales[name], name in reading.queries
        entries.append(Entry(root / name, "" if is_query else whale, repr(str(name)), truth=whale if is_query else ""))
    return Source(f"one {reading.layout.removesuffix('s')} per whale", root, entries, skipped_files=skipped)


def read_queries(root: Path) -> Source:
    """Read the photos in `root`, at any depth, as queries.

    Raises:
        WhaleidError: `root` is not a folder, or contains no photos.
        InputProblems: there are links to folders.
    """
    if not root.is_dir():
        raise WhaleidError(f"--queries {root} is not a folder. Choose the folder of the queries (photos to identify).")
    files, skipped = list_photos(root)
    if not files:
        raise WhaleidError(
            f"--queries {root} contains no photos. Choose the folder of the queries (photos to identify)."
        )
    entries = [Entry(path, "", repr(str(path))) for path in files]
    return Source("queries", root, entries, skipped_files=skipped)


def read_catalogue(root: Path) -> Source:
    """Read the photos of the catalogue folder `root`, with their labels, boxes and true labels.

    Raises:
        WhaleidError: as `layout.read`.
        InputProblems: its csv files are links to files outside of it.
    """
    require_inside(root, [root / name for name in layout.COLUMNS])
    catalogue = layout.read(root)
    rectangles = {
        image: Rectangle(tuple(box[:4]), False, *box[4:]) for image, *box in catalogue.boxes.itertuples(index=False)
    }
    truths = dict(zip(catalogue.solution["Image"], catalogue.solution["Id"], strict=True))
    entries = [
        Entry(
            root / part / image,
            label,
            repr(f"{part}/{image}"),
            rectangles.get(image),
            truths.get(image, ""),
            name_is_key=True,
        )
        for image, label, part in catalogue.photos[["Image", "Id", "part"]].itertuples(index=False)
    ]
    return Source("a catalogue", root, entries, submission=(root / "sample_submission.csv").is_file())


def list_photos(root: Path, strict: bool = True) -> tuple[list[Path], int]:
    """List the photos of any format in `root`, sorted, and count the other files; hidden files are ignored.

    Raises:
        InputProblems: with `strict`, if there are links to folders; otherwise they are ignored.
        OSError: with `strict`, if a folder cannot be read; otherwise it is ignored.
    """

    def fail(error: OSError) -> None:
        raise error

    files, links = [], []
    for folder, subfolders, names in os.walk(root, onerror=fail if strict else None):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        links += [repr(str(path)) for path in (Path(folder, name) for name in subfolders) if path.is_symlink()]
        files += [Path(folder, name) for name in names if not is_hidden(name)]
    if links and strict:
        remedy = "Replace the links with the folders themselves, or remove them."
        raise InputProblems("Links to folders", sorted(links), remedy)
    photos = sorted(path for path in files if is_photo(path))
    return photos, len(files) - len(photos)
