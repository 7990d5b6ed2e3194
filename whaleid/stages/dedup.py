"""Stage `dedup`: finds photos that are the same picture, and what that means for training and for queries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whaleid.core import paths
from whaleid.core.files import read_csv, replacing_folder, write_csv
from whaleid.core.record import Record
from whaleid.duplicates import duplicates, manifest
from whaleid.report import duplicates as duplicates_page

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> Record:
    """Write the manifest, groups, conflicts, the unique training subset, leaks and a report.

    Raises:
        InputProblems: photos that the report shows can no longer be read.
    """
    photos = read_csv(paths.CATALOG)
    by_name = photos["Image"].argsort()
    photos, thumbnails = photos.iloc[by_name].reset_index(drop=True), np.load(paths.THUMBNAILS)[by_name]
    found = duplicates.find(photos, thumbnails, params.dedup)
    every = manifest.manifest(photos, found.group, found.copies)
    leaking = manifest.leaking(photos, found.group)
    compared = duplicates.compare(photos["sha256"].to_numpy(dtype=np.str_), thumbnails, leaking, params.dedup)
    leaks = manifest.leaks(photos, compared, found.copies)
    groups, conflicts, unique = manifest.grouped(every), manifest.conflicts(every), manifest.unique(every)
    outputs = [paths.MANIFEST, paths.GROUPS, paths.CONFLICTS, paths.UNIQUE, paths.LEAKS]
    with replacing_folder(paths.DEDUP) as folder:
        for table, path in zip([every, groups, conflicts, unique, leaks], outputs, strict=True):
            write_csv(table, folder / path.name)

    queries = leaks["query"].nunique()
    figures = {
        "photos": len(photos),
        "groups": groups["group"].nunique(),
        "duplicates": len(found.copies.pairs),
        "conflicts": len(conflicts),
        "unique": len(unique),
        "leaks": queries,
        "plain": int(found.plain.sum()),
    }

    def file(row: int) -> Path:
        return Path(params.data.root, photos["part"][row], photos["Image"][row])

    names = [f"{label or 'query'} {image}" for label, image in zip(photos["Id"], photos["Image"], strict=True)]
    html = duplicates_page.page("whaleid: duplicates", figures, found, every, names, file, params.dedup)
    with replacing_folder(paths.DUPLICATES) as folder:
        (folder / "report.html").write_text(html, encoding="utf-8", newline="\n")
    print(
        f"{len(groups):,} photos in {figures['groups']:,} groups of duplicates; "
        f"{len(conflicts):,} labelled photos thrown out because the labels of their group differ\n"
        f"{len(unique):,} unique photos to train on; {queries:,} photos to identify duplicate a labelled one"
    )
    if figures["plain"]:
        print(f"{figures['plain']:,} photos show too little for their hash to tell anything: only the same file counts")
    return Record(
        params=params.dedup.model_dump(),
        metrics=figures,
        artifacts=[*outputs, paths.DUPLICATES],
        inputs=[paths.CATALOG],
        outputs=outputs,
        dataset=paths.UNIQUE,
    )
