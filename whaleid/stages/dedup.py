"""Stage `dedup`: finds photos that are the same picture, and what that means for training and for queries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whaleid import paths
from whaleid.dedup import manifest, matching
from whaleid.dedup.hashing import SIDE, thumbnail, to_bits
from whaleid.files import read_csv, replacing_folder, write_csv
from whaleid.images.decode import decode
from whaleid.parallel import parallel_map
from whaleid.record import Record

if TYPE_CHECKING:
    from whaleid.params import Params


def run(params: Params) -> Record:
    """Write groups, conflicts, the unique training subset and leaks.

    Raises:
        WhaleidError: a photo can no longer be read.
    """
    root, rule = Path(params.data.root), params.dedup
    photos = read_csv(paths.CATALOG).sort_values("Image", ignore_index=True)
    hashes = to_bits(photos["phash"])
    pairs = matching.pairs_within(hashes, rule.max_distance)
    candidates = np.unique(pairs)
    files = [root / photos["part"][i] / photos["Image"][i] for i in candidates]
    thumbnails = np.empty((len(candidates), SIDE, SIDE), dtype=np.float32)
    for row, pixels in enumerate(parallel_map(_thumbnail, files, "likely duplicates compared")):
        thumbnails[row] = pixels

    def errors(pairs: NDArray[np.intp]) -> NDArray[np.float64]:
        return matching.errors(thumbnails, np.searchsorted(candidates, pairs))

    same = pairs[errors(pairs) <= rule.max_error]
    photos["group"] = matching.groups(len(photos), same)
    leaking = manifest.leaking(photos)

    groups, conflicts, unique = manifest.grouped(photos), manifest.conflicts(photos), manifest.unique(photos)
    leaks = manifest.leaks(photos, leaking, matching.distances(hashes, leaking), errors(leaking))
    outputs = [paths.GROUPS, paths.CONFLICTS, paths.UNIQUE, paths.LEAKS]
    with replacing_folder(paths.DEDUP) as folder:
        for table, path in zip([groups, conflicts, unique, leaks], outputs, strict=True):
            write_csv(table, folder / path.name)

    count = groups["group"].nunique()
    queries = leaks["query"].nunique()
    print(
        f"{len(groups):,} photos in {count:,} groups of duplicates; "
        f"{len(conflicts):,} labelled photos thrown out because the labels of their group differ\n"
        f"{len(unique):,} unique photos to train on; {queries:,} photos to identify duplicate a labelled one"
    )
    return Record(
        params={"max_distance": rule.max_distance, "max_error": rule.max_error},
        metrics={
            "photos": len(photos),
            "groups": count,
            "duplicates": len(groups) - count,
            "conflicts": len(conflicts),
            "unique": len(unique),
            "leaks": queries,
        },
        artifacts=outputs,
        inputs=[paths.CATALOG],
        outputs=outputs,
        dataset=paths.UNIQUE,
    )


def _thumbnail(path: Path) -> NDArray[np.float32]:
    return thumbnail(decode(path))
