"""Read and check a catalogue folder in Kaggle's layout, before any expensive step."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from whaleid.catalog.checks import box_problems, input_problems, name_problems, parse_boxes, row_problems
from whaleid.catalog.table import read_table
from whaleid.core.errors import WhaleidError, raise_all
from whaleid.core.formats import CATALOGUE_SUFFIXES, is_photo
from whaleid.core.labels import CORNERS

LAYOUT = (
    "A catalogue folder contains train.csv (columns Image,Id) and train/ (the labelled photos). It may also contain "
    "test/ (queries: photos to identify), sample_submission.csv, boxes.csv and solution.csv."
)
"""Description of a catalogue folder, for errors."""
COLUMNS = {
    "train.csv": ["Image", "Id"],
    "sample_submission.csv": ["Image"],
    "boxes.csv": ["Image", *CORNERS],
    "solution.csv": ["Image", "Id"],
}
"""Required columns of the csv files in a catalogue folder."""


@dataclass(frozen=True)
class Catalogue:
    """The tables of a catalogue folder. The path of a photo is `root / part / Image`.

    Attributes:
        photos: Columns `Image,Id,part`, one row per photo, sorted by part and Image. `part` is `train` or `test`; `Id`
            is empty for `test`.
        boxes: Columns `Image,x0,y0,x1,y1`, fractions of width and height, and, if boxes.csv has it, `aspect`: width /
            height before the photo was resized to another shape, or NaN. Without boxes.csv, it has no rows.
        solution: Columns `Image,Id`, the true labels of queries. Without solution.csv, it has no rows.
    """

    photos: pd.DataFrame
    boxes: pd.DataFrame
    solution: pd.DataFrame


def read(root: Path, incomplete: bool = False) -> Catalogue:
    """Read the catalogue folder `root`. An `incomplete` one may lack files, and photos may lack rows.

    Raises:
        WhaleidError: the folder does not match `LAYOUT`, or its files contradict each other. If no part is missing, the
            error lists all problems.
    """
    if not (incomplete or root.is_dir()):
        raise WhaleidError(f"{root} is not a folder: set data.root in params.yaml to the catalogue folder. {LAYOUT}")
    train, test = photos_in(root / "train"), photos_in(root / "test")
    if not incomplete:
        missing = [] if (root / "train.csv").is_file() else ["train.csv"]
        missing += [] if train else [f"photos directly in train/: files named {', '.join(CATALOGUE_SUFFIXES)}"]
        raise_all([*input_problems(f"{root} is not a complete catalogue. Missing", missing, LAYOUT)])
    problems: list[WhaleidError] = [*name_problems(train, test)]
    if not incomplete:
        problems += input_problems(
            f"{root}: photos that a catalogue does not read",
            [f"{part}/{name}" for part in ("train", "test") for name in _other_photos(root / part)],
            "Photos of a catalogue are JPEG or PNG, and their names end in .jpg, .jpeg or .png. Rename or convert "
            "these, or remove them.",
        )
    tables = {name: pd.DataFrame(columns=columns, dtype=str) for name, columns in COLUMNS.items()}
    for name, columns in COLUMNS.items():
        path = root / name
        if not path.is_file():
            continue
        try:
            if name == "boxes.csv":
                tables[name] = _read_rows(path, columns, [*train, *test], optional=["aspect"])
                problems += row_problems(path, tables[name], [*train, *test], "train/ or test/", complete=False)
                problems += box_problems(path, tables[name])
            else:
                part = (train, "train/") if name == "train.csv" else (test, "test/")
                tables[name] = _read_rows(path, columns, part[0])
                problems += row_problems(path, tables[name], *part, complete=not incomplete)
        except WhaleidError as error:
            problems.append(error)
    raise_all(problems)

    queries = pd.DataFrame({"Image": test, "Id": "", "part": "test"}, dtype=str)
    photos = pd.concat([tables["train.csv"].assign(part="train"), queries])
    return Catalogue(
        photos.sort_values(["part", "Image"], ignore_index=True),
        parse_boxes(tables["boxes.csv"]).sort_values("Image", ignore_index=True),
        tables["solution.csv"].sort_values("Image", ignore_index=True),
    )


def read_labels(root: Path) -> pd.DataFrame:
    """Read the columns `Image,Id` of train.csv in the catalogue folder `root`. Photos may lack rows.

    Raises:
        WhaleidError: train.csv cannot be read or has mistakes; the error lists all of them.
    """
    if not (root / "train.csv").is_file():
        raise WhaleidError(f"{root} is not a catalogue folder: it contains no train.csv. {LAYOUT}")
    names = photos_in(root / "train")
    table = _read_rows(root / "train.csv", COLUMNS["train.csv"], names)
    rows = row_problems(root / "train.csv", table, names, "train/", complete=False)
    raise_all([*name_problems(names, []), *rows])
    return table


def photos_in(folder: Path) -> list[str]:
    """Return the file names of the photos in `folder`, sorted; an empty list if the folder does not exist."""
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in CATALOGUE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _other_photos(folder: Path) -> list[str]:
    """Return the file names of the photos and videos in `folder` that `photos_in` excludes, sorted."""
    others = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    return sorted(path.name for path in others if path.suffix.lower() not in CATALOGUE_SUFFIXES and is_photo(path))


def _read_rows(path: Path, columns: Sequence[str], photos: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read the rows of a csv file about `photos`. Names and labels may be in any of Unicode's forms.

    `Image` becomes the name of the file, and `Id` is composed (NFC), so that equal letters are equal text.
    """
    table = read_table(path, columns, optional)
    files = {unicodedata.normalize("NFC", photo): photo for photo in photos} | {photo: photo for photo in photos}
    images = [files.get(image, files.get(unicodedata.normalize("NFC", image), image)) for image in table["Image"]]
    labels = {"Id": table["Id"].str.normalize("NFC")} if "Id" in table else {}
    return table.assign(Image=pd.Series(images, table.index, dtype=str), **labels)
