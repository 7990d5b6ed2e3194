"""Command `duplicates`: the same pictures in any folder of images, outside any pipeline; no image is touched."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid.catalog.checks import unwritable
from whaleid.core.errors import WhaleidError
from whaleid.core.files import replacing, write_csv
from whaleid.duplicates import duplicates, manifest
from whaleid.images import prints, scanning
from whaleid.images.fingerprint import Fingerprint
from whaleid.images.listing import below, written
from whaleid.report import duplicates as duplicates_page

if TYPE_CHECKING:
    from whaleid.config import Dedup

MANIFEST = ["photo", "group", "representative", "keep", "reason", "distance", "error"]
LEAKS = ["photo", "known", "distance", "error"]


def run(folder: Path, against: Path | None, out: Path, rule: Dedup) -> int:
    """Compare all images below `folder` with each other and with those below `against`; write what was found to `out`.

    That is `manifest.csv`, `unreadable.csv`, `report.html` and, with `against`, `leaks.csv`. Photos are named as they
    are reached through `folder` and `against`.

    Returns:
        How many images could not be read.

    Raises:
        WhaleidError: a folder is not there or holds no image that can be read, or one lies within the other.
    """
    if against is not None and (_within(folder, against) or _within(against, folder)):
        raise WhaleidError(f"{folder} and {against} overlap: give two folders of which neither holds the other.")
    # what is already there stands for what is new, as labelled photos do for queries
    parts = {"train": folder} if against is None else {"train": against, "test": folder}
    files = [(part, path) for part, place in parts.items() for path in below(place)]
    odd = [path for _, path in files if unwritable(str(path))]
    files = [(part, path) for part, path in files if path not in odd]
    read = scanning.scan([path for _, path in files])
    good = [(part, path, each) for (part, path), each in zip(files, read, strict=True) if isinstance(each, Fingerprint)]
    bad = [
        (written(path), f"{written(path)}{said.removeprefix(str(path))}")
        for (_, path), said in zip(files, read, strict=True)
        if isinstance(said, str)
    ]
    bad += [(ascii(str(path)), "its name cannot be written to a csv file: rename it") for path in odd]
    if not good:
        raise WhaleidError(f"None of the {len(bad):,} images below {folder} can be read; the first one: {bad[0][1]}")
    good.sort(key=lambda entry: written(entry[1]))
    read_well = [each for _, _, each in good]
    photos = pd.DataFrame(
        {"Image": [written(path) for _, path, _ in good], "Id": "", "part": [part for part, _, _ in good]}
    )
    photos = photos.join(prints.table(read_well))
    thumbnails = prints.thumbnails(read_well)
    found = duplicates.find(photos, thumbnails, rule)
    every = manifest.manifest(photos, found.group, found.copies)
    here = photos["part"] == ("train" if against is None else "test")
    counts = {
        "images": int(here.sum()),
        "groups": int(every.loc[here & (every["group"] >= 0), "group"].nunique()),
        "copies": int((here & ~every["keep"]).sum()),
        "unreadable": len(bad),
        "too plain": int(found.plain.sum()),
    }
    tables = {"manifest.csv": every.loc[here, MANIFEST]}
    tables["unreadable.csv"] = pd.DataFrame(bad, columns=["photo", "reason"])
    if against is not None:
        pairs = manifest.leaking(photos, found.group)
        compared = duplicates.compare(photos["sha256"].to_numpy(dtype=np.str_), thumbnails, pairs, rule)
        leaks = manifest.leaks(photos, compared, found.copies).rename(columns={"photo": "known", "query": "photo"})
        tables["leaks.csv"] = leaks[LEAKS]
        counts[f"also in {against}"] = leaks["photo"].nunique()
    names = photos["Image"].tolist()
    html = duplicates_page.page(f"Duplicates in {folder}", counts, found, every, names, lambda row: good[row][1], rule)
    with ExitStack() as renamed:  # once all are written
        page = renamed.enter_context(replacing(out / "report.html"))
        page.write_text(html, encoding="utf-8", newline="\n")
        for name, table in tables.items():
            write_csv(table, renamed.enter_context(replacing(out / name)))
    print(", ".join(f"{count:,} {name}" for name, count in counts.items() if count or name in ("images", "copies")))
    print(f"{out / 'manifest.csv'} says which to keep and why; look at {out / 'report.html'}")
    if bad:
        print(f"{out / 'unreadable.csv'} says which images could not be read, and why", file=sys.stderr)
    return len(bad)


def _within(inner: Path, outer: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())
