"""Read sources that are folders: one folder per whale, a catalogue, or queries."""

import os
from pathlib import Path

from whaleid.catalog import layout
from whaleid.catalog.checks import SUFFIXES
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.importing.source import FOREIGN, Entry, Rectangle, Source, is_hidden, require_inside, to_label


def read_whales(root: Path) -> Source:
    """Read the photos in the folders of `root`, each named after a whale or `new_whale`. Photos may be at any depth.

    Raises:
        WhaleidError: there are no photos.
        InputProblems: photos are not in the folder of a whale, or there are links to folders.
    """
    files, skipped = _list_images(root)
    if not files:
        raise WhaleidError(
            f"{root} contains no photos to import. It needs one of: a folder for each whale, with its photos; "
            "train.csv and train/ or train.zip (a catalogue or Kaggle competition); metadata.csv (wildlife-datasets)."
        )
    if top_level := [repr(path.name) for path in files if path.parent == root]:
        raise InputProblems(
            f"Photos directly in {root}, not in the folder of a whale",
            top_level,
            "Move each into a folder named after its whale, or into a folder new_whale. Import queries (photos to "
            "identify) with --queries DIR. If a csv file lists the photos, import that file.",
        )
    names = [path.relative_to(root) for path in files]
    entries = [Entry(root / name, to_label(name.parts[0]), repr(str(name))) for name in names]
    return Source("one folder per whale", root, entries, skipped_files=skipped)


def read_queries(root: Path) -> Source:
    """Read the photos in `root`, at any depth, as queries.

    Raises:
        WhaleidError: `root` is not a folder, or contains no photos.
        InputProblems: there are links to folders.
    """
    if not root.is_dir():
        raise WhaleidError(f"--queries {root}: is not a folder. Name a folder with the photos to identify.")
    files, skipped = _list_images(root)
    if not files:
        raise WhaleidError(f"--queries {root}: contains no photos. Name a folder with the photos to identify.")
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


def _list_images(root: Path) -> tuple[list[Path], int]:
    """List the images of any format in `root`, sorted, and count the other files; hidden files are ignored."""

    def fail(error: OSError) -> None:
        raise error

    files, links = [], []
    for folder, subfolders, names in os.walk(root, onerror=fail):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        links += [repr(str(path)) for path in (Path(folder, name) for name in subfolders) if path.is_symlink()]
        files += [Path(folder, name) for name in names if not is_hidden(name)]
    if links:
        remedy = "Links to folders are not followed: copy the folders, or remove the links."
        raise InputProblems("Links to folders", sorted(links), remedy)
    images = sorted(path for path in files if path.suffix.lower() in (*SUFFIXES, *FOREIGN))
    return images, len(files) - len(images)
