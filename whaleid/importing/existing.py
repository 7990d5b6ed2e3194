"""A source that is a catalogue folder itself, as Kaggle's downloads are once they are unpacked."""

from pathlib import Path

from whaleid.catalog import layout
from whaleid.catalog.checks import CORNERS
from whaleid.importing.entries import Box, Entry, Source, require_inside


def photos(root: Path) -> Source:
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
