"""Stage `boxes`: learns from the boxes that are given where flukes lie, and which way is up, and finds it on others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw

from whaleid.core import files, paths
from whaleid.core.record import Record
from whaleid.images.crop import WHOLE, overlaps
from whaleid.images.decode import decode
from whaleid.images.pack import Source, pack
from whaleid.images.thumbnails import CELL, contact_sheet

if TYPE_CHECKING:
    from whaleid.config import Pack, Params

SIDES = ["x0", "y0", "x1", "y1"]
FEWEST = 100  # different photos with a box: fewer are too few to learn from
ROUNDING = 0.01  # by which an aspect may differ, relatively, from the photo's own width / height
SHOWN, COLUMNS = 24, 6


def run(params: Params) -> Record:
    """Write each photo's box, given or found, and whether it is to be turned; the boxes' quality, and some to look at.

    The network is kept for photos that come later, also where no photo of the catalogue lacks a box.

    Boxes given for photos in `train` are learnt from. Where a query has no box, or there is none yet, those given for
    validation photos only measure the ones found there: validation is to ask what the queries ask.

    Raises:
        WhaleidError: a photo can no longer be read, or the backbone's checkpoint cannot be used.
    """
    tables = (files.read_csv(path).set_index("Image") for path in (paths.CATALOG, paths.BOXES, paths.SPLIT))
    photos, given, split = tables
    known = given.join(split[["part", "role"]])  # neither, where the split left the photo out
    learnt, held_out = given[known["part"] == "train"], known["part"] == "validation"
    # on copies of photos that were learnt from, boxes would come out too well
    measured = given[held_out & (known["role"] != "duplicate")]
    queries = photos.index[photos["part"] == "test"]
    kept = given if len(queries) and queries.isin(given.index).all() else given[~held_out]
    lacking = photos.index.difference(kept.index)

    network = b""
    if why := _reason_to_rest(photos.loc[learnt.index], len(lacking), params.pack):
        print(f"boxes: {len(given):,} given, none found: {why}")
        found = given.iloc[:0].assign(upside_down=0.0, turned=False)
        checked = given.iloc[:0].assign(iou=0.0)
    else:
        print(f"boxes: {len(given):,} given, {len(learnt):,} to learn from, {len(lacking):,} to find", flush=True)
        sought = photos.index if params.pack.turn else lacking.union(measured.index)
        found, network = _learn(photos, learnt, sought, params)
        checked = found.loc[measured.index]
        checked = checked.assign(iou=overlaps(checked[SIDES].to_numpy(), measured[SIDES].to_numpy()))

    turned = found.loc[found["turned"], "upside_down"].sort_values(ascending=False, kind="stable")
    added = found.loc[found.index.isin(lacking), [*SIDES, "aspect"]]
    flukes = pd.concat([kept.assign(source="given"), added.assign(source="found")]).sort_index()
    flukes["turned"] = flukes.index.isin(turned.index).astype(int)
    figures = {"given": len(given), "found": len(added), "turned": len(turned), **_figures(checked, measured)}
    files.write_csv(flukes.reset_index(), paths.FLUKES)
    with files.replacing(paths.BOX_NETWORK) as temporary:
        temporary.write_bytes(network)
    root = Path(params.data.root)
    with files.replacing_folder(paths.BOX_REPORT) as folder:
        files.write_json(figures, folder / "figures.json")
        _sheet(photos, given, checked, root, params.seed).save(folder / "sheet.png")
        _turned_sheet(photos, flukes["aspect"], turned[:SHOWN], root).save(folder / "turned.png")
    if len(checked):
        print(
            f"boxes: {len(added):,} found; on {len(checked):,} validation photos, intersection over union is "
            f"{figures['iou']:.3f} on average, over 0.5 on {figures['iou_over_50']:.1%} and over 0.75 on "
            f"{figures['iou_over_75']:.1%} of them"
        )
    if params.pack.turn and len(found):
        print(f"boxes: {len(turned):,} of {len(photos):,} photos are upside down and will be turned")
    return Record(
        params={"seed": params.seed, "crop": params.pack.crop, "turn": params.pack.turn, **params.boxes.model_dump()},
        metrics=figures,
        artifacts=[paths.BOX_REPORT],
        inputs=[paths.BOXES, paths.SPLIT],
        outputs=[paths.FLUKES, paths.BOX_NETWORK],
    )


def _reason_to_rest(learnt: pd.DataFrame, lacking: int, settings: Pack) -> str | None:
    """Say why there is nothing to learn for, if so; `learnt` are the photos that could be learnt from."""
    if not (settings.crop or settings.turn):
        return "photos are not cropped (pack.crop)"
    if learnt["phash"].nunique() < FEWEST:
        others = f"; the {lacking:,} others stay whole" if lacking else ""
        unturned = ", and none is turned" if settings.turn else ""
        return f"that takes boxes on {FEWEST} different photos to learn from{others}{unturned}"
    return None


def _learn(
    photos: pd.DataFrame, learnt: pd.DataFrame, sought: pd.Index[str], params: Params
) -> tuple[pd.DataFrame, bytes]:
    """Return what is found on the photos `sought`, once the boxes `learnt` are, and the checkpoint of what finds it.

    Found are boxes, how likely a photo is `upside_down`, and whether it is to be `turned`.
    """
    # a catalogue without boxes needs no torch
    import torch

    from whaleid.detection import network as box_network
    from whaleid.detection import prediction, training
    from whaleid.detection.network import BoxNetwork
    from whaleid.model import checkpoint
    from whaleid.training.device import pick_device

    torch.manual_seed(params.seed)
    start = paths.checkpoint("backbone")
    pretrained, _ = checkpoint.load(start.read_bytes(), str(start))
    own = photos["width"] / photos["height"]
    squeezed = not np.allclose(learnt["aspect"], own[learnt.index], rtol=ROUNDING, atol=0)
    network, device = BoxNetwork(pretrained.backbone, params.boxes.size, params.pack.turn, squeezed), pick_device()
    seen = photos.loc[learnt.index.union(sought)]
    squares = _squares(Path(params.data.root), seen, params.boxes.size)
    targets = np.column_stack([learnt[SIDES], np.log(learnt["aspect"])]).astype(np.float32)
    training.train(network, squares[seen.index.get_indexer(learnt.index)], targets, params.boxes, params.seed, device)
    sides, upside_down = prediction.predict(network, squares[seen.index.get_indexer(sought)], device)

    found = pd.DataFrame(sides[:, :4], columns=SIDES, index=sought, dtype=float)
    found["aspect"] = prediction.aspects(network, sides, own[sought].to_numpy())
    found["upside_down"], found["turned"] = upside_down.astype(float), upside_down > prediction.CERTAIN
    return found, box_network.save(network)


def _squares(root: Path, photos: pd.DataFrame, side: int) -> npt.NDArray[np.uint8]:
    """Return `photos` grey and whole, stretched: (N, `side`, `side`, 1)."""
    sources = [Source(root / part / image, box=WHOLE, aspect=None) for image, part in photos["part"].items()]
    return np.stack(list(pack(sources, side, side, grey=True, margin=0.0, stretch=True)))


def _figures(checked: pd.DataFrame, given: pd.DataFrame) -> dict[str, float]:
    """Measure the boxes found on photos held out, if there are any, by those `given` for them."""
    if checked.empty:
        return {}
    return {
        "held_out": len(checked),
        "iou": checked["iou"].mean(),
        "iou_median": checked["iou"].median(),
        "iou_over_50": (checked["iou"] > 0.5).mean(),
        "iou_over_75": (checked["iou"] > 0.75).mean(),
        "aspect_error": (checked["aspect"] / given["aspect"] - 1).abs().mean(),
    }


def _sheet(photos: pd.DataFrame, given: pd.DataFrame, checked: pd.DataFrame, root: Path, seed: int) -> Image.Image:
    """Draw the given box green and the found one red: on photos held out or, where there are none, on any."""
    names = checked.index.tolist() if len(checked) else photos.index.tolist()
    shown = sorted(np.random.default_rng(seed).permutation(names)[:SHOWN].tolist())
    layers = [(given, "lime"), (checked, "red")]
    pictures, captions = [], []
    for image in shown:
        boxes = [(table.loc[image], colour) for table, colour in layers if image in table.index]
        photo = _photo(root / str(photos.at[image, "part"]) / image, boxes[0][0]["aspect"] if boxes else None)
        for box, colour in boxes:
            lengths = np.array([photo.width - 1, photo.height - 1] * 2)
            ImageDraw.Draw(photo).rectangle((box[SIDES] * lengths).tolist(), outline=colour, width=2)
        pictures.append(photo)
        captions.append(f"{image} {boxes[-1][0]['iou']:.2f}" if len(checked) else image)
    return contact_sheet(pictures, captions, COLUMNS)


def _turned_sheet(photos: pd.DataFrame, aspects: pd.Series[float], turned: pd.Series[float], root: Path) -> Image.Image:
    """Show photos as they come that are to be turned, each with its probability of being upside down."""
    pictures = [_photo(root / str(photos.at[image, "part"]) / image, aspects[image]) for image in turned.index]
    return contact_sheet(pictures, [f"{image} {likely:.3f}" for image, likely in turned.items()], COLUMNS)


def _photo(path: Path, aspect: float | None) -> Image.Image:
    """Return a photo for a contact sheet, in colour and in the shape `aspect`, or in its own."""
    photo = decode(path).convert("RGB")
    return photo.resize((max(1, round(CELL[1] * (aspect or photo.width / photo.height))), CELL[1]))
