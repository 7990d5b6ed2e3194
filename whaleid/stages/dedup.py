"""Stage `dedup`: finds photos that are the same picture, and what that means for training and for queries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whaleid.core import paths
from whaleid.core.files import read_csv, replacing_folder, write_csv
from whaleid.core.log import logger
from whaleid.core.record import Record
from whaleid.duplicates import groups, manifest
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
    duplicates = groups.find(photos, thumbnails, params.dedup)
    every = manifest.manifest(photos, duplicates.group, duplicates.copies)
    leaks = manifest.leaks(photos, duplicates.leaks, duplicates.copies)
    members, conflicts, unique = manifest.members(every), manifest.conflicts(every), manifest.unique(every)
    outputs = [paths.MANIFEST, paths.GROUPS, paths.CONFLICTS, paths.UNIQUE, paths.LEAKS]
    with replacing_folder(paths.DEDUP) as folder:
        for table, path in zip([every, members, conflicts, unique, leaks], outputs, strict=True):
            write_csv(table, folder / path.name)

    queries = leaks["query"].nunique()
    figures = {
        "photos": len(photos),
        "groups": members["group"].nunique(),
        "duplicates": len(duplicates.copies.pairs),
        "conflicts": len(conflicts),
        "unique": len(unique),
        "leaks": queries,
        "plain": int(duplicates.blank.sum()),
    }
    files = [Path(params.data.root, part, image) for part, image in zip(photos["part"], photos["Image"], strict=True)]
    names = [f"{label or 'query'} {image}" for label, image in zip(photos["Id"], photos["Image"], strict=True)]
    html = duplicates_page.page("whaleid: duplicates", figures, duplicates, every, names, files, params.dedup)
    with replacing_folder(paths.DUPLICATES) as folder:
        (folder / "report.html").write_text(html, encoding="utf-8", newline="\n")
    logger.info(
        f"{len(members):,} photos in {figures['groups']:,} groups of duplicates; "
        f"{len(conflicts):,} labelled photos thrown out because the labels of their group differ\n"
        f"{len(unique):,} unique photos to train on; {queries:,} photos to identify duplicate a labelled one"
    )
    if figures["plain"]:
        logger.info(
            f"{figures['plain']:,} photos show too little for their hash to tell anything: only the same file counts"
        )
    return Record(
        params=params.dedup.model_dump(),
        metrics=figures,
        artifacts=[*outputs, paths.DUPLICATES],
        inputs=[paths.CATALOG],
        outputs=outputs,
        dataset=paths.UNIQUE,
    )
