"""The catalogue folder in Kaggle's layout, read and checked before anything costly starts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from whaleid.catalog.checks import SUFFIXES, photo_problems, table_problems
from whaleid.catalog.table import read_table
from whaleid.core.errors import InputProblems, WhaleidError, raise_all
from whaleid.core.labels import CORNERS

LAYOUT = (
    "A catalogue folder holds train.csv (Image,Id) and train/ (the labelled photos), and may hold test/ (photos to "
    "identify), sample_submission.csv, boxes.csv and solution.csv."
)
COLUMNS = {
    "train.csv": ["Image", "Id"],
    "sample_submission.csv": ["Image"],
    "boxes.csv": ["Image", *CORNERS],
    "solution.csv": ["Image", "Id"],
}


@dataclass(frozen=True)
class Catalogue:
    """The tables of a catalogue folder; a photo lies at `root / part / Image`.

    `photos` has the columns Image, Id, part, a row a photo, sorted by part and Image; `part` is `train` or `test`, `Id`
    is empty for `test`. `boxes` has Image, x0, y0, x1, y1 as fractions of width and height and maybe aspect, width /
    height before the photo was squeezed, or NaN. `solution` has Image, Id. Without their files, these two have no rows.
    """

    photos: pd.DataFrame
    boxes: pd.DataFrame
    solution: pd.DataFrame


def read(root: Path, unfinished: bool = False) -> Catalogue:
    """Read the catalogue folder `root`; an `unfinished` one may lack files, and rows of its photos.

    Raises:
        WhaleidError: the folder is not as in `LAYOUT`, or its files contradict each other: all problems at once.
    """
    if not unfinished:
        _require_layout(root)
    train, test = photos_in(root / "train"), photos_in(root / "test")
    tables: dict[str, pd.DataFrame] = {}
    problems: list[WhaleidError] = list(photo_problems(train, test))
    if not (train or unfinished):
        remedy = f"Labelled photos are files named {', '.join(SUFFIXES)}, directly in train/."
        problems.append(InputProblems("Folders without photos", [str(root / "train")], remedy))
    for name, columns in COLUMNS.items():
        if (root / name).is_file():
            try:
                tables[name] = read_table(root / name, columns, optional=["aspect"] if name == "boxes.csv" else [])
            except WhaleidError as error:
                problems.append(error)
    for name, table in tables.items():
        problems.extend(table_problems(root / name, table, train, test, unfinished))
    raise_all(problems)

    tables = {name: pd.DataFrame(columns=columns, dtype=str) for name, columns in COLUMNS.items()} | tables
    queries = pd.DataFrame({"Image": test, "Id": "", "part": "test"}, dtype=str)
    photos = pd.concat([tables["train.csv"].assign(part="train"), queries])
    boxes = tables["boxes.csv"]
    # by float, as the checks read them: pandas takes other texts for numbers
    boxes = boxes.assign(
        **{name: np.array([float(cell or "nan") for cell in boxes[name]]) for name in boxes.columns[1:]}
    )
    return Catalogue(
        photos.sort_values(["part", "Image"], ignore_index=True),
        boxes.sort_values("Image", ignore_index=True),
        tables["solution.csv"].sort_values("Image", ignore_index=True),
    )


def _require_layout(root: Path) -> None:
    if not root.is_dir():
        raise WhaleidError(f"{root} is no folder: data.root in params.yaml names the catalogue folder. {LAYOUT}")
    missing = [] if (root / "train.csv").is_file() else ["train.csv"]
    if not (root / "train").is_dir():
        missing.append("train/")
    if missing:
        raise InputProblems(f"{root} lacks parts of a catalogue", missing, LAYOUT)


def photos_in(folder: Path) -> list[str]:
    """Return the names of the photos in `folder`, sorted; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
