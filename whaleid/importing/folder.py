"""Sources that are folders: one folder per whale, a catalogue, and photos to identify."""

from pathlib import Path

from whaleid.catalog import layout
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.labels import CORNERS
from whaleid.importing.rectangle import Rectangle
from whaleid.importing.source import Entry, Source, images, label, require_inside


def by_whale(root: Path) -> Source:
    """Read photos at any depth below the folders of `root`, each named after a whale or `new_whale`.

    Raises:
        WhaleidError: there are no photos.
        InputProblems: photos lie in no whale's folder, or there are links to folders.
    """
    files, others = images(root)
    if not files:
        raise WhaleidError(
            f"{root} holds no photos. Looked for: train.csv beside train/ or train.zip (a catalogue, or Kaggle's), "
            "metadata.csv (wildlife-datasets), and photos in a folder a whale."
        )
    if loose := [repr(path.name) for path in files if path.parent == root]:
        raise InputProblems(
            f"Photos that lie directly in {root}",
            loose,
            "Put each into the folder of its whale, or into one named new_whale. Use --queries for photos to identify, "
            "and a csv file for photos with a table.",
        )
    names = [path.relative_to(root) for path in files]
    entries = [Entry(root / name, label(name.parts[0]), repr(str(name))) for name in names]
    return Source("a folder a whale", root, entries, others=others)


def queries(root: Path) -> Source:
    """Read photos at any depth below `root` as photos to identify.

    Raises:
        WhaleidError: it is no folder, or holds no photos.
        InputProblems: there are links to folders.
    """
    if not root.is_dir():
        raise WhaleidError(f"--queries {root}: is no folder.")
    files, others = images(root)
    if not files:
        raise WhaleidError(f"--queries {root}: holds no photos.")
    return Source("photos to identify", root, [Entry(path, "", repr(str(path))) for path in files], others=others)


def catalogue(root: Path) -> Source:
    """Read the photos of the catalogue folder `root`, with their labels, boxes and truths.

    Raises:
        WhaleidError: as `layout.read`.
        InputProblems: its csv files are links that lead out of it.
    """
    require_inside(root, [root / name for name in layout.COLUMNS])
    read = layout.read(root)
    rectangles = {
        row["Image"]: Rectangle(tuple(row[corner] for corner in CORNERS), False, row.get("aspect"))
        for row in read.boxes.to_dict("records")
    }
    truths = dict(zip(read.solution["Image"], read.solution["Id"], strict=True))
    entries = [
        Entry(root / part / name, whale, repr(f"{part}/{name}"), rectangles.get(name), truths.get(name, ""), keyed=True)
        for name, whale, part in read.photos[["Image", "Id", "part"]].itertuples(index=False)
    ]
    return Source("a catalogue", root, entries, submission=(root / "sample_submission.csv").is_file())
