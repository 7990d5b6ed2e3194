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

FEWEST = 100
"""The number of different photos with a box below which no network is trained."""


def run(params: Params) -> Record:
    """Write the box of each photo, its own or predicted, and whether to turn it; the boxes' quality, and examples.

    The network is kept for photos that come later, also where no photo of the catalogue lacks a box.

    Boxes of photos in `train` are trained on. Where a query has no box, or there is none yet, those of validation
    photos only measure the ones predicted there, so that validation is like the queries.

    Raises:
        WhaleidError: a photo can no longer be read, or the backbone's checkpoint cannot be used.
    """
    tables = (files.read_csv(path).set_index("Image") for path in (paths.CATALOG, paths.BOXES, paths.SPLIT))
    photos, labelled, split = tables
    known = labelled.join(split[["part", "role"]])  # neither, where the split left the photo out
    train_set, held_out = labelled[known["part"] == "train"], known["part"] == "validation"
    # boxes on copies of training photos would come out too well
    measured = labelled[held_out & (known["role"] != "duplicate")]
    queries = photos.index[photos["part"] == "test"]
    kept = labelled if len(queries) and queries.isin(labelled.index).all() else labelled[~held_out]
    missing = photos.index.difference(kept.index)
    root = Path(params.data.root)

    network = b""
    if reason := _reason_to_skip(photos.loc[train_set.index], len(missing), params.pack):
        logger.info(f"boxes: {len(labelled):,} given, none found: {reason}")
        predicted = labelled.iloc[:0].assign(upside_down=0.0, turned=False)
    else:
        from whaleid.detection.fitting import fit_predict
        from whaleid.model import checkpoint

        logger.info(f"boxes: {len(labelled):,} given, {len(train_set):,} to learn from, {len(missing):,} to find")
        targets = photos.index if params.pack.turn else missing.union(measured.index)
        start = paths.checkpoint(paths.BACKBONE)
        backbone = checkpoint.load(start.read_bytes(), str(start))[0].backbone
        predicted, network = fit_predict(
            backbone, photos, train_set, targets, root, params.boxes, params.pack.turn, params.seed
        )

    checked = predicted.loc[measured.index.intersection(predicted.index)]
    checked = checked.assign(iou=box_iou(checked[CORNERS].to_numpy(), measured.loc[checked.index, CORNERS].to_numpy()))
    turned = predicted.loc[predicted["turned"], "upside_down"].sort_values(ascending=False, kind="stable")
    added = predicted.loc[predicted.index.isin(missing), [*CORNERS, "aspect"]]
    flukes = pd.concat([kept.assign(source="given"), added.assign(source="found")]).sort_index()
    flukes["turned"] = flukes.index.isin(turned.index).astype(int)
    figures = {"given": len(labelled), "found": len(added), "turned": len(turned), **quality.measure(checked, measured)}
    files.write_csv(flukes.reset_index(), paths.FLUKES)
    with files.replacing(paths.BOX_NETWORK) as temporary:
        temporary.write_bytes(network)
    with files.replacing_folder(paths.BOX_REPORT) as folder:
        files.write_json(figures, folder / "figures.json")
        quality.draw_boxes(photos, labelled, checked, root, params.seed).save(folder / "sheet.png")
        quality.draw_turned(photos, flukes["aspect"], turned, root).save(folder / "turned.png")
    if len(checked):
        logger.info(
            f"boxes: {len(added):,} found; on {len(checked):,} validation photos, intersection over union is "
            f"{figures['iou']:.3f} on average, over 0.5 on {figures['iou_over_50']:.1%} and over 0.75 on "
            f"{figures['iou_over_75']:.1%} of them"
        )
    if params.pack.turn and len(predicted):
        logger.info(f"boxes: {len(turned):,} of {len(photos):,} photos are upside down and will be turned")
    return Record(
        params={"seed": params.seed, "crop": params.pack.crop, "turn": params.pack.turn, **params.boxes.model_dump()},
        metrics=figures,
        artifacts=[paths.BOX_REPORT],
        inputs=[paths.BOXES, paths.SPLIT],
        outputs=[paths.FLUKES, paths.BOX_NETWORK],
    )


def _reason_to_skip(train_set: pd.DataFrame, missing: int, settings: Pack) -> str | None:
    """Return why no network is trained on the photos `train_set`, or None if one is."""
    if not (settings.crop or settings.turn):
        return "photos are not cropped (pack.crop)"
    if train_set["phash"].nunique() < FEWEST:
        others = f"; the {missing:,} others stay whole" if missing else ""
        unturned = ", and none is turned" if settings.turn else ""
        return f"that takes boxes on {FEWEST} different photos to learn from{others}{unturned}"
    return None
