"""The same pictures in any folder of images, outside any pipeline; no image is touched."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.catalog.checks import unwritable
from whaleid.core.errors import WhaleidError
from whaleid.core.files import replacing, write_csv
from whaleid.duplicates import groups, manifest
from whaleid.images import fingerprint
from whaleid.images.listing import below, overlap, written

if TYPE_CHECKING:
    from whaleid.config import Dedup

MANIFEST = ["photo", "group", "representative", "keep", "reason", "distance", "error"]
LEAKS = ["photo", "known", "distance", "error"]


@dataclass(frozen=True)
class Search:
    """The duplicates among the images of a folder, and of another one if there is one."""

    files: list[Path]  # N, of both folders, sorted by name
    groups: groups.Groups
    manifest: pd.DataFrame  # N rows, as `manifest.manifest` returns it
    counts: Mapping[str, int]  # by name
    tables: Mapping[str, pd.DataFrame]  # by file name


def search(folder: Path, against: Path | None, rule: Dedup) -> Search:
    """Compare all images below `folder` with each other and with those below `against`.

    Photos are named by their paths through `folder` and `against`.

    Raises:
        WhaleidError: a folder does not exist or holds no image that can be read, or one lies within the other.
    """
    if against is not None and overlap(folder, against):
        raise WhaleidError(f"{folder} and {against} overlap: give two folders of which neither holds the other.")
    # an image that is already there represents its copies, as labelled photos represent queries
    parts = {"train": folder} if against is None else {"train": against, "test": folder}
    part = {path: name for name, place in parts.items() for path in below(place)}
    odd = [path for path in part if unwritable(str(path))]
    named = sorted(part.keys() - {*odd}, key=written)
    results = dict(zip(named, fingerprint.fingerprints(named), strict=True))
    files = [path for path, result in results.items() if not isinstance(result, str)]
    bad = [
        (written(path), f"{written(path)}{result.removeprefix(str(path))}")
        for path, result in results.items()
        if isinstance(result, str)
    ]
    bad += [(ascii(str(path)), "its name cannot be written to a csv file: rename it") for path in odd]
    if not files:
        raise WhaleidError(f"None of the {len(bad):,} images below {folder} can be read; the first one: {bad[0][1]}")
    good = [result for result in results.values() if not isinstance(result, str)]
    photos = pd.DataFrame(
        {"Image": [written(path) for path in files], "Id": "", "part": [part[path] for path in files]}
    ).join(fingerprint.facts(good))
    duplicates = groups.find(photos, fingerprint.thumbnails(good), rule)
    every = manifest.manifest(photos, duplicates.group, duplicates.copies)
    here = photos["part"] == ("train" if against is None else "test")
    counts = {
        "images": int(here.sum()),
        "groups": int(every.loc[here & (every["group"] >= 0), "group"].nunique()),
        "copies": int((here & ~every["keep"]).sum()),
        "unreadable": len(bad),
        "too plain": int(duplicates.blank.sum()),
    }
    tables = {"manifest.csv": every.loc[here, MANIFEST]}
    tables["unreadable.csv"] = pd.DataFrame(bad, columns=["photo", "reason"])
    if against is not None:
        leaks = manifest.leaks(photos, duplicates.leaks, duplicates.copies)
        leaks = leaks.rename(columns={"photo": "known", "query": "photo"})
        tables["leaks.csv"] = leaks[LEAKS]
        counts[f"also in {against}"] = leaks["photo"].nunique()
    return Search(files, duplicates, every, counts, tables)


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
