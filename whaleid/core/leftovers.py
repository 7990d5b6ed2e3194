"""Remove the files of variants that params.yaml no longer names; DVC keeps the outputs of removed stages."""

import shutil
from collections.abc import Collection
from pathlib import Path

from whaleid.core import paths


def remove_former_variants(variants: Collection[str], weights: Path) -> None:
    """Remove the checkpoints, features, histories and calibrations of all variants except `variants`.

    Some stages depend on whole folders: with leftover files in them, the hashes of these folders would differ from
    those in a fresh clone. Other files, temporary files, and the state dict `weights` of the user are kept.
    """
    kept = {*variants, paths.BACKBONE}
    for output_path in (paths.checkpoint, paths.features, paths.history):
        pattern = output_path("[!.]*")  # skip temporary files: another process may be writing them
        for file in pattern.parent.glob(pattern.name):
            if file.stem not in kept and file.resolve() != weights.resolve():
                file.unlink()
    for folder in paths.CALIBRATIONS.glob("[!.]*"):
        if folder.is_dir() and folder.name not in kept:
            shutil.rmtree(folder)
