"""Sources that are folders: one folder per whale, a catalogue, and photos to identify."""

import os
from pathlib import Path

from whaleid.catalog import layout
from whaleid.catalog.checks import SUFFIXES
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.importing.source import FOREIGN, Entry, Rectangle, Source, is_hidden, label, require_inside


def read_whales(root: Path) -> Source:
    """Read photos at any depth below the folders of `root`, each named after a whale or `new_whale`.

    Raises:
        WhaleidError: there are no photos.
        InputProblems: photos lie in no whale's folder, or there are links to folders.
    """
    files, skipped = _images(root)
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
    return Source("a folder a whale", root, entries, skipped_files=skipped)


def read_queries(root: Path) -> Source:
    """Read photos at any depth below `root` as photos to identify.

    Raises:
        WhaleidError: it is no folder, or holds no photos.
        InputProblems: there are links to folders.
    """
    if not root.is_dir():
        raise WhaleidError(f"--queries {root}: is no folder.")
    files, skipped = _images(root)
    if not files:
        raise WhaleidError(f"--queries {root}: holds no photos.")
    entries = [Entry(path, "", repr(str(path))) for path in files]
    return Source("photos to identify", root, entries, skipped_files=skipped)


def read_catalogue(root: Path) -> Source:
    """Read the photos of the catalogue folder `root`, with their labels, boxes and truths.

    Raises:
        WhaleidError: as `layout.read`.
        InputProblems: its csv files are links that lead out of it.
    """
    require_inside(root, [root / name for name in layout.COLUMNS])
    read = layout.read(root)
    rectangles = {
        image: Rectangle(tuple(box[:4]), False, *box[4:]) for image, *box in read.boxes.itertuples(index=False)
    }
    truths = dict(zip(read.solution["Image"], read.solution["Id"], strict=True))
    entries = [
        Entry(root / part / name, whale, repr(f"{part}/{name}"), rectangles.get(name), truths.get(name, ""), keyed=True)
        for name, whale, part in read.photos[["Image", "Id", "part"]].itertuples(index=False)
    ]
    return Source("a catalogue", root, entries, submission=(root / "sample_submission.csv").is_file())


def _images(folder: Path) -> tuple[list[Path], int]:
    """List the images of any format below `folder`, sorted, and count the other files; hidden files are left out."""

    def fail(error: OSError) -> None:
        raise error

    files, links = [], []
    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not is_hidden(name)]
        links += [repr(str(path)) for path in (Path(place, name) for name in folders) if path.is_symlink()]
        files += [Path(place, name) for name in names if not is_hidden(name)]
    if links:
        raise InputProblems(
            "Links to folders", sorted(links), "Links are not followed: copy the folders, or remove them."
        )
    images = sorted(path for path in files if path.suffix.lower() in (*SUFFIXES, *FOREIGN))
    return images, len(files) - len(images)
