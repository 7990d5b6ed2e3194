"""Stage `dedup`: find duplicate photos, conflicting labels, and queries that duplicate a labelled photo (leaks)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whaleid.core import paths
from whaleid.core.files import read_csv, replacing_folder, write_csv
from whaleid.core.log import logger
from whaleid.core.record import Record
from whaleid.duplicates import manifest
from whaleid.duplicates.search import find_duplicates
from whaleid.report import duplicates as page

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> Record:
    """Write the manifest, the duplicate groups, conflicts, the unique training photos, leaks and a report.

    Raises:
        InputProblems: photos in the report can no longer be read.
    """
    photos = read_csv(paths.CATALOG)
    order = photos["Image"].argsort()
    photos, thumbnails = photos.iloc[order].reset_index(drop=True), np.load(paths.THUMBNAILS)[order]
    duplicates = find_duplicates(photos, thumbnails, params.dedup)
    tables = {
        paths.MANIFEST: duplicates.manifest,
        paths.GROUPS: manifest.members(duplicates.manifest),
        paths.CONFLICTS: manifest.conflicts(duplicates.manifest),
        paths.UNIQUE: manifest.unique(duplicates.manifest),
        paths.LEAKS: duplicates.leaks,
    }
    with replacing_folder(paths.DEDUP) as folder:
        for path, table in tables.items():
            write_csv(table, folder / path.name)
    figures = {
        "photos": len(photos),
        "groups": tables[paths.GROUPS]["group"].nunique(),
        "duplicates": len(duplicates.copies),
        "conflicts": len(tables[paths.CONFLICTS]),
        "unique": len(tables[paths.UNIQUE]),
        "leaks": duplicates.leaks["query"].nunique(),
        "plain": duplicates.plain,
    }
    files = {
        f"{label or 'query'} {image}": Path(params.data.root, part, image)
        for image, label, part in photos[["Image", "Id", "part"]].itertuples(index=False)
    }
    html = page.render("whaleid: duplicates", figures, duplicates, files, params.dedup)
    with replacing_folder(paths.DUPLICATES) as folder:
        (folder / "report.html").write_text(html, encoding="utf-8", newline="\n")
    logger.info(
        f"{len(tables[paths.GROUPS]):,} photos in {figures['groups']:,} duplicate groups; "
        f"{figures['conflicts']:,} labelled photos excluded because their group has several labels\n"
        f"{figures['unique']:,} unique photos to train on; {figures['leaks']:,} queries duplicate a labelled photo"
    )
    if duplicates.plain:
        logger.info(
            f"{duplicates.plain:,} photos have too little detail to compare: only identical files are duplicates"
        )
    return Record(
        params=params.dedup.model_dump(),
        metrics=figures,
        artifacts=[*tables, paths.DUPLICATES],
        inputs=[paths.CATALOG],
        outputs=[*tables],
        dataset=paths.UNIQUE,
    )
