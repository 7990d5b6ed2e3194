"""Build a bundle from the outputs of the pipeline, for stage `bundle` and for `whaleid register`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whaleid.core import features, files, paths
from whaleid.core.log import logger
from whaleid.duplicates.hashing import perceptual_hashes, to_hex
from whaleid.identification import figures, validation
from whaleid.identification.decision import from_json
from whaleid.images.previews import read_previews
from whaleid.serving import bundle
from whaleid.serving.about import About

if TYPE_CHECKING:
    from whaleid.config import Params


def write(params: Params, prediction: str, target: Path, threshold: float | None = None) -> None:
    """Write the bundle of `prediction` to the folder `target`.

    `threshold`, 0 to 1, replaces the threshold `auto` of the calibration.

    Raises:
        InputProblems: photos cannot be read, or have no embedding.
    """
    calibrated_by = params.calibration_source(prediction)
    networks = params.variant_by_calibrated(prediction)
    catalog, split = files.read_csv(paths.CATALOG), files.read_csv(paths.SPLIT)
    labelled = catalog[catalog["part"] == "train"].sort_values(["Id", "Image"])
    thumbnails = np.load(paths.THUMBNAILS)[labelled.index]
    compared = validation.gallery(split, held_out=True)["Image"]
    photos = labelled.reset_index(drop=True).assign(
        phash=to_hex(perceptual_hashes(thumbnails)), compared=labelled["Image"].isin(compared).astype(int).to_numpy()
    )
    ranking = paths.ranking(calibrated_by)
    decision = from_json((ranking / paths.DECISION).read_bytes())
    threshold_free = json.loads((ranking / paths.THRESHOLD_FREE).read_text(encoding="utf-8"))
    answers = files.read_csv(ranking / paths.VALIDATION)
    measured = figures.evaluate(threshold_free, answers, threshold)
    shares = threshold_free["unknown_share"], threshold_free["duplicate_share"]
    about = About(
        variant=prediction,
        timm=params.backbone.name.startswith("timm/"),
        calibrated_by=calibrated_by,
        threshold=decision.threshold_auto if threshold is None else threshold,
        decision=decision,
        dedup=params.dedup,
        pack=params.pack,
        networks={name: params.variants[variant].embed for name, variant in networks.items()},
        validation=hashlib.sha256(paths.SPLIT.read_bytes() + repr(shares).encode()).hexdigest(),
        figures={key: round(value, 6) for key, value in measured.items() if not np.isnan(value)},
    )
    model = bundle.Bundle(
        about,
        photos,
        thumbnails,
        features.load(networks, compared),
        {name: paths.checkpoint(variant).read_bytes() for name, variant in networks.items()},
        paths.BOX_NETWORK.read_bytes(),
    )
    root = Path(params.data.root) / "train"
    previews = read_previews({image: root / image for image in sorted(compared)}, bundle.WIDTH)
    with files.replacing_folder(target) as temporary:
        bundle.write(model, previews, temporary)
    size = sum(path.stat().st_size for path in target.iterdir()) / 2**20
    logger.info(
        f"{target}: {len(networks)} networks; {len(photos):,} labelled photos, {len(compared):,} of them in the "
        f"gallery ({model.compared['Id'].nunique():,} whales); {size:.0f} MiB"
    )
