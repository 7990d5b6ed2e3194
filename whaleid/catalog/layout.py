"""The catalogue folder in Kaggle's layout, read and checked before anything costly starts."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from whaleid.catalog.checks import SUFFIXES, box_numbers, box_problems, input_problems, name_problems, row_problems
from whaleid.catalog.table import read_table
from whaleid.core.errors import WhaleidError, raise_all
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


def read(root: Path, incomplete: bool = False) -> Catalogue:
    """Read the catalogue folder `root`; an `incomplete` one may lack files, and rows of its photos.

    Raises:
        WhaleidError: the folder is not as in `LAYOUT`, or its files contradict each other: all problems at once, unless
            parts are missing.
    """
    if not (incomplete or root.is_dir()):
        raise WhaleidError(f"{root} is no folder: data.root in params.yaml names the catalogue folder. {LAYOUT}")
    train, test = photos_in(root / "train"), photos_in(root / "test")
    if not incomplete:
        missing = [] if (root / "train.csv").is_file() else ["train.csv"]
        missing += [] if train else [f"photos directly in train/: files named {', '.join(SUFFIXES)}"]
        raise_all([*input_problems(f"{root} lacks parts of a catalogue", missing, LAYOUT)])
    problems: list[WhaleidError] = [*name_problems(train, test)]
    tables = {name: pd.DataFrame(columns=columns, dtype=str) for name, columns in COLUMNS.items()}
    for name, columns in COLUMNS.items():
        path = root / name
        if not path.is_file():
            continue
        try:
            if name == "boxes.csv":
                tables[name] = read_table(path, columns, optional=["aspect"])
                problems += row_problems(path, tables[name], [*train, *test], "train/ or test/", complete=False)
                problems += box_problems(path, tables[name])
            else:
                tables[name] = read_table(path, columns)
                part = (train, "train/") if name == "train.csv" else (test, "test/")
                problems += row_problems(path, tables[name], *part, complete=not incomplete)
        except WhaleidError as error:
            problems.append(error)
    raise_all(problems)

    queries = pd.DataFrame({"Image": test, "Id": "", "part": "test"}, dtype=str)
    photos = pd.concat([tables["train.csv"].assign(part="train"), queries])
    return Catalogue(
        photos.sort_values(["part", "Image"], ignore_index=True),
        box_numbers(tables["boxes.csv"]).sort_values("Image", ignore_index=True),
        tables["solution.csv"].sort_values("Image", ignore_index=True),
    )


def read_labels(root: Path) -> pd.DataFrame:
    """Read `Image,Id`, the rows of train.csv in the catalogue folder `root`; its photos may lack rows.

    Raises:
        WhaleidError: it cannot be read, or has mistakes: all problems at once.
    """
    names = photos_in(root / "train")
    table = read_table(root / "train.csv", COLUMNS["train.csv"])
    rows = row_problems(root / "train.csv", table, names, "train/", complete=False)
    raise_all([*name_problems(names, []), *rows])
    return table


def photos_in(folder: Path) -> list[str]:
    """Return the names of the photos in `folder`, sorted; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
