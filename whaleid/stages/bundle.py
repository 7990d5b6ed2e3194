"""Stage `bundle`: all that names the whale on a photo, in one folder that works without the pipeline."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whaleid.core import features, files, paths
from whaleid.identification import figures, validation
from whaleid.images.thumbnails import thumbs
from whaleid.serving.bundle import WIDTH, About, Bundle
from whaleid.serving.bundle import write as write_bundle

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params, prediction: str) -> None:
    """Write the bundle of `prediction`, which has a network or several, with the threshold found on validation.

    The key `threshold` of the parameters has no part in it: who identifies photos may set another.
    """
    write(params, prediction, paths.bundle(prediction))


def write(params: Params, prediction: str, target: Path, threshold: float | None = None) -> None:
    """Write the bundle of `prediction` to the folder `target`, with `threshold` in place of the one that was found.

    Raises:
        InputProblems: photos can no longer be read, or have no embedding.
    """
    calibrated_by = params.calibration_of(prediction)
    # a prediction that is calibrated by another one takes its weights network by network
    called = params.predictions[calibrated_by].networks
    networks = dict(zip(called, params.predictions[prediction].networks, strict=True))
    catalog, split = files.read_csv(paths.CATALOG), files.read_csv(paths.SPLIT)
    thumbnails = np.load(paths.THUMBNAILS)
    labelled = catalog[catalog["part"] == "train"].sort_values(["Id", "Image"])
    compared = validation.gallery(split, held_out=True)["Image"]
    photos = labelled.assign(compared=labelled["Image"].isin(compared).astype(int))
    ranking = paths.ranking(calibrated_by)
    decision, fixed = (
        json.loads((ranking / name).read_text(encoding="utf-8")) for name in (paths.DECISION, paths.THRESHOLD_FREE)
    )
    answers = files.read_csv(ranking / paths.VALIDATION)
    limit = decision["threshold_auto"] if threshold is None else threshold
    measured = figures.at(limit, fixed, answers, by_fold=threshold is None)
    shares = fixed["unknown_share"], fixed["duplicate_share"]
    about = About(
        variant=prediction,
        timm=params.backbone.name.startswith("timm/"),
        calibrated_by=calibrated_by,
        threshold=limit,
        decision=decision,
        dedup=params.dedup,
        pack=params.pack,
        networks={name: params.variants[variant].embed for name, variant in networks.items()},
        validation=hashlib.sha256(paths.SPLIT.read_bytes() + repr(shares).encode()).hexdigest(),
        figures={key: round(value, 6) for key, value in measured.items() if not np.isnan(value)},
    )
    bundle = Bundle(
        about,
        photos.reset_index(drop=True),
        thumbnails[labelled.index],
        features.load(networks, compared),
        {name: paths.checkpoint(variant).read_bytes() for name, variant in networks.items()},
        paths.BOX_NETWORK.read_bytes(),
    )
    root = Path(params.data.root) / "train"
    small = thumbs({image: root / image for image in sorted(compared)}, WIDTH)
    with files.replacing_folder(target) as temporary:
        write_bundle(bundle, small, temporary)
    size = sum(path.stat().st_size for path in target.iterdir()) / 2**20
    print(
        f"{target}: {len(networks)} networks, {len(photos):,} labelled photos, {len(compared):,} of them compared, of "
        f"{photos.loc[photos['compared'] == 1, 'Id'].nunique():,} whales; {size:.0f} MiB"
    )
