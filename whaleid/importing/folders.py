"""A source with a folder a whale, and a folder of photos to identify."""

from pathlib import Path

from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.importing.entries import Entry, Source, images, label


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
