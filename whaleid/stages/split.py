"""Stage `split`: divide the labelled photos into training and validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whaleid.catalog.split import split
from whaleid.core import files, paths
from whaleid.core.log import logger
from whaleid.core.record import Record

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> Record:
    """Write `paths.SPLIT` and print the number of photos and labels of each role."""
    table = split(files.read_csv(paths.UNIQUE), files.read_csv(paths.GROUPS), params.split, params.seed)
    files.write_csv(table, paths.SPLIT)
    for (part, role), photos in table.groupby(["part", "role"]):
        logger.info(f"{part}, {role}: {len(photos)} photos with {photos['Id'].nunique()} labels")
    return Record(
        params={"seed": params.seed, **params.split.model_dump(exclude={"unknown_share"})},
        metrics={str(role): count for role, count in table["role"].value_counts().items()},
        artifacts=[paths.SPLIT],
        inputs=[paths.UNIQUE, paths.GROUPS],
        outputs=[paths.SPLIT],
        dataset=paths.SPLIT,
    )
