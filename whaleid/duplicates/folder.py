"""Duplicates in any folder of images, outside any pipeline; no image is touched."""

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
from whaleid.duplicates.search import Duplicates, find
from whaleid.images.fingerprint import file_metadata, fingerprints, thumbnails
from whaleid.images.listing import list_images, overlap, spreadsheet_safe

if TYPE_CHECKING:
    from whaleid.config import Dedup


@dataclass(frozen=True)
class Result:
    """The duplicates among the images of a folder, and of another one if there is one."""

    files: Mapping[str, Path]  # of both folders, by name, sorted
    duplicates: Duplicates  # among these
    counts: Mapping[str, int]  # by name
    tables: Mapping[str, pd.DataFrame]  # by file name


def search(folder: Path, against: Path | None, rule: Dedup) -> Result:
    """Compare all images below `folder` with each other and with those below `against`.

    Photos are named by their paths through `folder` and `against`.

    Raises:
        WhaleidError: a folder does not exist or holds no image that can be read, or one lies within the other.
    """
    if against is not None and overlap(folder, against):
        raise WhaleidError(f"{folder} and {against} overlap: give two folders of which neither holds the other.")
    # an image that is already there represents its copies, as labelled photos represent queries
    here, parts = ("train", {"train": folder}) if against is None else ("test", {"train": against, "test": folder})
    part = {path: name for name, place in parts.items() for path in list_images(place)}
    unnamed = [path for path in part if has_unsafe_characters(str(path))]
    named = sorted(part.keys() - {*unnamed}, key=spreadsheet_safe)
    results = dict(zip(named, fingerprints(named), strict=True))
    prints = {path: result for path, result in results.items() if not isinstance(result, str)}
    unreadable = [
        (spreadsheet_safe(path), f"{spreadsheet_safe(path)}{result.removeprefix(str(path))}")
        for path, result in results.items()
        if isinstance(result, str)
    ]
    unreadable += [(ascii(str(path)), "its name cannot be written to a csv file: rename it") for path in unnamed]
    if not prints:
        reason = unreadable[0][1]
        raise WhaleidError(f"None of the {len(part):,} images below {folder} can be read; the first one: {reason}")
    photos = pd.DataFrame(
        {"Image": [spreadsheet_safe(path) for path in prints], "Id": "", "part": [part[path] for path in prints]}
    ).join(file_metadata([*prints.values()]))
    duplicates = find(photos, thumbnails([*prints.values()]), rule)
    manifest = duplicates.manifest[duplicates.manifest["part"] == here].drop(columns=["part", "Id"])
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
    return Result(dict(zip(photos["Image"], prints, strict=True)), duplicates, counts, tables)


def write(tables: Mapping[str, pd.DataFrame], page: str, out: Path) -> None:
    """Write `tables` and `report.html` to the folder `out`: all of them, or none.

    A `leaks.csv` of an earlier search is removed with them, where this one compared with no other folder.
    """
    with ExitStack() as renamed:  # once all are written
        html = renamed.enter_context(replacing(out / "report.html"))
        html.write_text(page, encoding="utf-8", newline="\n")
        for name, table in tables.items():
            write_csv(table, renamed.enter_context(replacing(out / name)))
    if "leaks.csv" not in tables:
        (out / "leaks.csv").unlink(missing_ok=True)
