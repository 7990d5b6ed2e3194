"""Draw the default catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whaleid import paths
from whaleid.catalog.sample import draw_catalogue
from whaleid.files import replacing_folder

if TYPE_CHECKING:
    from whaleid.params import Params


def run(params: Params) -> None:
    """Write the drawn catalogue to `paths.SAMPLE`."""
    with replacing_folder(paths.SAMPLE) as folder:
        draw_catalogue(folder, params.sample, params.seed)
        drawn = {part: len(list((folder / part).iterdir())) for part in ("train", "test")}
    print(f"drew {drawn['train']} labelled photos and {drawn['test']} queries into {paths.SAMPLE}")
