"""Stage `boxes`: train a network on the boxes of boxes.csv, and predict the boxes of the other photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.core import files, paths
from whaleid.core.labels import CORNERS
from whaleid.core.log import logger
from whaleid.core.record import Record
from whaleid.detection import quality
from whaleid.images.crop import box_iou

if TYPE_CHECKING:
    from whaleid.config import Pack, Params

MIN_PHOTOS = 100
"""Minimum number of different photos with a box to train the network on."""


def run(params: Params) -> Record:
    """Write the box of each photo, given or predicted, whether the photo is upside down, and a report of the quality.

    The network is trained on the boxes of training photos. It is saved even if all photos have a box, to predict the
    boxes of future photos. Unless there are queries and all of them have a box, the boxes of validation photos are
    predicted too, so that validation is as hard as the queries. Their given boxes then only measure the quality.

    Raises:
        WhaleidError: a photo can no longer be read, or the backbone's checkpoint cannot be used.
    """
    tables = (files.read_csv(path).set_index("Image") for path in (paths.CATALOG, paths.BOXES, paths.SPLIT))
    photos, labelled, split = tables
    roles = labelled.join(split[["part", "role"]])  # NaN for photos that are not in the split
    train_set, held_out = labelled[roles["part"] == "train"], roles["part"] == "validation"
    # duplicates of training photos would make the quality look too good
    ground_truth = labelled[held_out & (roles["role"] != "duplicate")]
    queries = photos.index[photos["part"] == "test"]
    kept = labelled if len(queries) and queries.isin(labelled.index).all() else labelled[~held_out]
    missing = photos.index.difference(kept.index)
    root = Path(params.data.root)

    network = b""
    if reason := _reason_to_skip(photos.loc[train_set.index], len(missing), params.pack):
        logger.info(f"boxes: {len(labelled):,} given, none predicted: {reason}")
        predicted = labelled.iloc[:0].assign(upside_down=0.0, turned=False)
    else:
        from whaleid.detection.fitting import fit_predict
        from whaleid.model import checkpoint

        logger.info(f"boxes: {len(labelled):,} given; training on {len(train_set):,}, predicting {len(missing):,}")
        targets = photos.index if params.pack.turn else missing.union(ground_truth.index)
        start = paths.checkpoint(paths.BACKBONE)
        backbone = checkpoint.load(start.read_bytes(), str(start))[0].backbone
        predicted, network = fit_predict(
            backbone, photos, train_set, targets, root, params.boxes, params.pack.turn, params.seed
        )

    checked = predicted.loc[ground_truth.index.intersection(predicted.index)]
    checked = checked.assign(
        iou=box_iou(checked[CORNERS].to_numpy(), ground_truth.loc[checked.index, CORNERS].to_numpy())
    )
    upside_down = predicted.loc[predicted["turned"], "upside_down"].sort_values(ascending=False, kind="stable")
    new_boxes = predicted.loc[predicted.index.isin(missing), [*CORNERS, "aspect"]]
    flukes = pd.concat([kept.assign(source="given"), new_boxes.assign(source="found")]).sort_index()
    flukes["turned"] = flukes.index.isin(upside_down.index).astype(int)
    figures = {
        "given": len(labelled),
        "found": len(new_boxes),
        "turned": len(upside_down),
        **quality.box_metrics(checked, ground_truth),
    }
    files.write_csv(flukes.reset_index(), paths.FLUKES)
    with files.replacing(paths.BOX_NETWORK) as temporary:
        temporary.write_bytes(network)
    with files.replacing_folder(paths.BOX_REPORT) as folder:
        files.write_json(figures, folder / "figures.json")
        quality.draw_boxes(photos, labelled, checked, root, params.seed).save(folder / "sheet.png")
        quality.draw_upside_down(photos, flukes["aspect"], upside_down, root).save(folder / "turned.png")
    if len(checked):
        logger.info(
            f"boxes: {len(new_boxes):,} predicted; on {len(checked):,} validation photos, mean intersection over union "
            f"is {figures['iou']:.3f}, above 0.5 on {figures['iou_over_50']:.1%} and above 0.75 on "
            f"{figures['iou_over_75']:.1%} of them"
        )
    if params.pack.turn and len(predicted):
        logger.info(f"boxes: {len(upside_down):,} of {len(photos):,} photos are upside down and will be rotated")
    return Record(
        params={"seed": params.seed, "crop": params.pack.crop, "turn": params.pack.turn, **params.boxes.model_dump()},
        metrics=figures,
        artifacts=[paths.BOX_REPORT],
        inputs=[paths.BOXES, paths.SPLIT],
        outputs=[paths.FLUKES, paths.BOX_NETWORK],
    )


def _reason_to_skip(train_set: pd.DataFrame, missing: int, settings: Pack) -> str | None:
    """Return the reason not to train a network on the photos `train_set`; None if it is to be trained."""
    if not (settings.crop or settings.turn):
        return "pack.crop and pack.turn are off"
    if train_set["phash"].nunique() < MIN_PHOTOS:
        not_cropped = f"; {missing:,} photos are not cropped" if missing else ""
        not_rotated = "; no photo is rotated" if settings.turn else ""
        return f"training needs boxes on {MIN_PHOTOS} different photos{not_cropped}{not_rotated}"
    return None
