"""Find duplicates in any folder of images, without a pipeline. No image is changed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.catalog.checks import has_unsafe_characters
from whaleid.core.errors import WhaleidError
from whaleid.core.files import replacing, write_csv
from whaleid.duplicates.search import Duplicates, find_duplicates
from whaleid.images.fingerprint import file_metadata, fingerprints, thumbnails
from whaleid.images.listing import list_images, overlap, spreadsheet_safe

if TYPE_CHECKING:
    from whaleid.config import Dedup


@dataclass(frozen=True)
class SearchResult:
    """The duplicates in a folder of images, and in a second folder if one was searched."""

    files: Mapping[str, Path]  # images of both folders by name, sorted by name
    duplicates: Duplicates  # of these images
    counts: Mapping[str, int]  # by name, as displayed
    tables: Mapping[str, pd.DataFrame]  # csv files to write, by file name


def search_folder(folder: Path, against: Path | None, rule: Dedup) -> SearchResult:
    """Compare all images in `folder`, at any depth, with each other and with the images in `against`.

    The name of an image is its path, which starts with `folder` or `against`.

    Raises:
        WhaleidError: a folder does not exist, contains no readable image, or is inside the other folder.
    """
    if against is not None and overlap(folder, against):
        raise WhaleidError(f"{folder} and {against} overlap: choose two separate folders.")
    # images in `against` represent their copies in `folder`, as labelled photos represent queries
    searched, parts = ("train", {"train": folder}) if against is None else ("test", {"train": against, "test": folder})
    part = {path: name for name, root in parts.items() for path in list_images(root)}
    unsafe = [path for path in part if has_unsafe_characters(str(path))]
    images = sorted(part.keys() - {*unsafe}, key=spreadsheet_safe)
    results = dict(zip(images, fingerprints(images), strict=True))
    prints = {path: result for path, result in results.items() if not isinstance(result, str)}
    unreadable = [
        (spreadsheet_safe(path), f"{spreadsheet_safe(path)}{result.removeprefix(str(path))}")
        for path, result in results.items()
        if isinstance(result, str)
    ]
    unreadable += [(ascii(str(path)), "its name cannot be written to a csv file: rename it") for path in unsafe]
    if not prints:
        raise WhaleidError(
            f"No image in {folder} can be read ({len(part):,} tried). Check whether they open in other programs. "
            f"First error: {unreadable[0][1]}"
        )
    photos = pd.DataFrame(
        {"Image": [spreadsheet_safe(path) for path in prints], "Id": "", "part": [part[path] for path in prints]}
    ).join(file_metadata([*prints.values()]))
    duplicates = find_duplicates(photos, thumbnails([*prints.values()]), rule)
    manifest = duplicates.manifest[duplicates.manifest["part"] == searched].drop(columns=["part", "Id"])
    counts = {
        "images": len(manifest),
        "groups": int(manifest.loc[manifest["group"] >= 0, "group"].nunique()),
        "copies": int((~manifest["keep"]).sum()),
        "unreadable": len(unreadable),
        "too plain": duplicates.plain,
    }
    tables = {"manifest.csv": manifest, "unreadable.csv": pd.DataFrame(unreadable, columns=["photo", "reason"])}
    if against is not None:
        leaks = duplicates.leaks.rename(columns={"photo": "known", "query": "photo"})
        tables["leaks.csv"] = leaks[["photo", "known", "distance", "error"]]
        counts[f"also in {against}"] = leaks["photo"].nunique()
    return SearchResult(dict(zip(photos["Image"], prints, strict=True)), duplicates, counts, tables)


def write_results(tables: Mapping[str, pd.DataFrame], page: str, out: Path) -> None:
    """Write `tables`, by file name, and the page `report.html` to the folder `out`. If one fails, none is written.

    The `leaks.csv` of an earlier search is deleted if `tables` does not contain a new one.
    """
    with ExitStack() as renamed:  # files get their final names after all are written
        report = renamed.enter_context(replacing(out / "report.html"))
        report.write_text(page, encoding="utf-8", newline="\n")
        for name, table in tables.items():
            write_csv(table, renamed.enter_context(replacing(out / name)))
    if "leaks.csv" not in tables:
        (out / "leaks.csv").unlink(missing_ok=True)
