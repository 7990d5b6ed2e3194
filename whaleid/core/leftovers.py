"""Files of variants that are no longer named: DVC keeps the outputs of stages that it no longer knows."""

import shutil
from collections.abc import Collection
from pathlib import Path

from whaleid.core import paths


def remove_former_variants(variants: Collection[str], weights: Path) -> None:
    """Remove checkpoints, features, histories and calibrations of variants that are not among `variants`.

    They would be hashed with the folders that stages depend on, so that no clone could match them. Files of any other
    kind, those with a temporary name, and the user's state dict `weights` are kept.
    """
    kept = {*variants, paths.BACKBONE}
    for path_of in (paths.checkpoint, paths.features, paths.history):
        pattern = path_of("[!.]*")  # a file with a temporary name may be written at this moment
        for file in pattern.parent.glob(pattern.name):
            if file.stem not in kept and file.resolve() != weights.resolve():
                file.unlink()
    for folder in paths.CALIBRATIONS.glob("[!.]*"):
        if folder.is_dir() and folder.name not in kept:
            shutil.rmtree(folder)
