"""Stage `sample`: create the synthetic catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whaleid.core import paths
from whaleid.core.files import replacing_folder
from whaleid.core.log import logger
from whaleid.sample.compose import draw_catalogue

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> None:
    """Write the synthetic catalogue to `paths.SAMPLE`."""
    with replacing_folder(paths.SAMPLE) as folder:
        draw_catalogue(folder, params.sample, params.seed)
        counts = {part: len(list((folder / part).iterdir())) for part in ("train", "test")}
    logger.info(f"{paths.SAMPLE}: {counts['train']} labelled photos and {counts['test']} queries created")
