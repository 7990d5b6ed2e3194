"""Sources that are folders: one with a folder a whale, a catalogue, and photos to identify."""

from pathlib import Path

from whaleid.catalog import layout
from whaleid.catalog.checks import CORNERS
from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.importing.source import Box, Entry, Source, images, label, require_inside


def by_whale(root: Path) -> Source:
    """Return the photos at any depth below the folders of `root`, each of which has a whale's name, or `new_whale`.

    Raises:
        WhaleidError: there are none.
        InputProblems: photos lie in no whale's folder, or links to folders are among them.
    """
    found, others = images(root)
    named = [path.relative_to(root) for path in found]
    if not found:
        raise WhaleidError(
            f"{root} holds no photos. Looked for: train.csv beside train/ or train.zip (a catalogue, or Kaggle's), "
            "metadata.csv (wildlife-datasets), and photos in a folder a whale."
        )
    loose = [repr(path.name) for path in named if len(path.parts) == 1]
    if loose:
        raise InputProblems(
            f"Photos that lie directly in {root}",
            loose,
            "Put each into the folder of its whale, or into one named new_whale. Photos to identify are given by "
            "--queries, photos with a table by that csv file.",
        )
    entries = [Entry(root / path, label(path.parts[0]), repr(str(path))) for path in named]
    return Source("a folder a whale", root, entries, others=others)


def queries(root: Path) -> Source:
    """Return the photos at any depth below `root` as photos to identify.

    Raises:
        WhaleidError: it is no folder, or holds none.
        InputProblems: links to folders are among them.
    """
    if not root.is_dir():
        raise WhaleidError(f"--queries {root}: is no folder.")
    found, others = images(root)
    if not found:
        raise WhaleidError(f"--queries {root}: holds no photos.")
    return Source("photos to identify", root, [Entry(path, "", repr(str(path))) for path in found], others=others)


def catalogue(root: Path) -> Source:
    """Return the photos of the catalogue folder `root`, with their labels, boxes and truths.

    Raises:
        WhaleidError: as `layout.read`.
        InputProblems: its csv files are links that lead out of it.
    """
    require_inside(root, [root / name for name in layout.COLUMNS])
    found = layout.read(root)
    boxes = {
        row["Image"]: Box(tuple(row[corner] for corner in CORNERS), False, row.get("aspect"))
        for row in found.boxes.to_dict("records")
    }
    truth = dict(zip(found.solution["Image"], found.solution["Id"], strict=True))
    entries = [
        Entry(root / part / name, label, repr(f"{part}/{name}"), boxes.get(name), truth.get(name, ""))
        for name, label, part in found.photos[["Image", "Id", "part"]].itertuples(index=False)
    ]
    submission = (root / "sample_submission.csv").is_file()
    return Source("a catalogue", root, entries, keyed=True, submission=submission)
