"""Stage `boxes`: learns from the boxes that are given to find the fluke on the photos that have none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw

from whaleid import files, paths
from whaleid.images.decode import decode
from whaleid.images.pack import Source, pack
from whaleid.record import Record
from whaleid.report.sheets import CELL, contact_sheet

if TYPE_CHECKING:
    from whaleid.params import Params

SIDES = ["x0", "y0", "x1", "y1"]
FEWEST = 100  # different photos with a box: fewer are too few to learn from
HELD_OUT = 0.1  # of the different photos with a box, those that are measured and not learnt from
MOST_HELD_OUT = 1000  # which is enough to know the mean overlap to 0.005
SQUARE = 96  # pixels: whole photos are stretched to a square this small, on which the outline still shows
ROUNDING = 0.01  # by which an aspect may differ, relatively, from the photo's own width / height
SHOWN, COLUMNS = 24, 6


def run(params: Params) -> Record:
    """Write a box for every photo for which it is given or can be found, how good those are, and some to look at.

    Raises:
        WhaleidError: a photo can no longer be read, or the backbone's checkpoint cannot be used.
    """
    photos, given = files.read_csv(paths.CATALOG).set_index("Image"), files.read_csv(paths.BOXES)
    lacking = photos.index.difference(given["Image"].tolist())
    if why := _reason_to_rest(photos.loc[given["Image"]], len(lacking), params.pack.crop):
        found, checked = given.iloc[:0], given.iloc[:0].assign(iou=0.0)
        print(f"boxes: {len(given):,} given, none found: {why}")
    else:
        print(f"boxes: {len(given):,} given, to learn to find {len(lacking):,}", flush=True)
        found, checked = _learn(photos, given, lacking, params)
    figures = {"given": len(given), "found": len(found), **_figures(checked, given)}
    boxes = pd.concat([given.assign(source="given"), found.assign(source="found")])
    files.write_csv(boxes.sort_values("Image"), paths.FLUKES)
    files.write_json(figures, paths.BOX_METRICS)
    with files.replacing(paths.BOX_SHEET) as temporary:
        _sheet(photos, given, checked, Path(params.data.root), params.seed).save(temporary)
    if len(checked):
        print(
            f"boxes: {len(found):,} found; on {len(checked):,} photos that were not learnt from, intersection over "
            f"union is {figures['iou']:.3f} on average, over 0.5 on {figures['iou_over_50']:.1%} and over 0.75 on "
            f"{figures['iou_over_75']:.1%} of them"
        )
    return Record(
        params={"seed": params.seed, "crop": params.pack.crop},
        metrics=figures,
        artifacts=[paths.BOX_SHEET],
        inputs=[paths.BOXES],
        outputs=[paths.FLUKES],
    )


def _reason_to_rest(boxed: pd.DataFrame, lacking: int, crop: bool) -> str | None:
    """Say why no box is to be found, if so; `boxed` are the photos that have one."""
    if not lacking:
        return "every photo has one"
    if not crop:
        return "photos are not cropped (pack.crop)"
    if boxed["phash"].nunique() < FEWEST:
        return f"that takes boxes on {FEWEST} different photos; the {lacking:,} others stay whole"
    return None


def _learn(
    photos: pd.DataFrame, given: pd.DataFrame, lacking: pd.Index[str], params: Params
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the boxes found on the photos `lacking`, and those on photos held out, with their `iou`."""
    # most catalogues need no finding: torch stays out of their way
    import torch

    from whaleid.model import checkpoint
    from whaleid.model.boxes import BoxNetwork
    from whaleid.training import boxes
    from whaleid.training.device import pick_device

    torch.manual_seed(params.seed)
    start = paths.checkpoint("backbone")
    pretrained, _ = checkpoint.from_checkpoint(checkpoint.loads(start.read_bytes(), str(start)), str(start))
    network, device = BoxNetwork(pretrained.backbone), pick_device()
    root, boxed = Path(params.data.root), photos.loc[given["Image"]]
    targets = np.column_stack([given[SIDES], np.log(given["aspect"])]).astype(np.float32)
    pixels, held = _squares(root, boxed), _held_out(boxed["phash"], params.seed)
    boxes.learn(network, pixels[~held], targets[~held], params.seed, device)

    squeezed = not np.allclose(given["aspect"], boxed["width"] / boxed["height"], rtol=ROUNDING, atol=0)

    def frame(chosen: pd.DataFrame, found: npt.NDArray[np.float32]) -> pd.DataFrame:
        aspect = np.exp(found[:, 4]) if squeezed else chosen["width"] / chosen["height"]
        sides = pd.DataFrame(found[:, :4], columns=SIDES, index=chosen.index, dtype=float)
        return sides.assign(aspect=aspect).rename_axis("Image").reset_index()

    checked = boxes.find(network, pixels[held], device)
    iou = boxes.overlaps(checked, targets[held])
    found = boxes.find(network, _squares(root, photos.loc[lacking]), device)
    return frame(photos.loc[lacking], found), frame(boxed[held], checked).assign(iou=iou.astype(float))


def _squares(root: Path, photos: pd.DataFrame) -> npt.NDArray[np.uint8]:
    """Return `photos` grey and whole: (N, SQUARE, SQUARE, 1)."""
    # taken for a square's, a photo fills the square
    sources = [Source(root / part / image, box=None, aspect=1.0) for image, part in photos["part"].items()]
    return np.stack(list(pack(sources, SQUARE, SQUARE, grey=True, margin=0.0)))


def _held_out(hashes: pd.Series[str], seed: int) -> npt.NDArray[np.bool_]:
    """Choose what to measure; copies of a photo, which have its perceptual hash, all go to one side."""
    different = np.sort(hashes.unique())
    count = min(MOST_HELD_OUT, round(HELD_OUT * len(different)))
    return hashes.isin(np.random.default_rng(seed).permutation(different)[:count]).to_numpy()


def _figures(checked: pd.DataFrame, given: pd.DataFrame) -> dict[str, float]:
    """Measure the boxes on photos held out, if there are any."""
    if checked.empty:
        return {}
    aspect = given.set_index("Image").loc[checked["Image"], "aspect"].to_numpy()
    return {
        "held_out": len(checked),
        "iou": checked["iou"].mean(),
        "iou_median": checked["iou"].median(),
        "iou_over_50": (checked["iou"] > 0.5).mean(),
        "iou_over_75": (checked["iou"] > 0.75).mean(),
        "aspect_error": (checked["aspect"] / aspect - 1).abs().mean(),
    }


def _sheet(photos: pd.DataFrame, given: pd.DataFrame, checked: pd.DataFrame, root: Path, seed: int) -> Image.Image:
    """Draw the given box green and the found one red: on photos held out or, where there are none, on any."""
    names = checked["Image"].tolist() if len(checked) else photos.index.tolist()
    shown = sorted(np.random.default_rng(seed).permutation(names)[:SHOWN].tolist())
    layers = [(given.set_index("Image"), "lime"), (checked.set_index("Image"), "red")]
    pictures, captions = [], []
    for image in shown:
        photo = decode(root / str(photos.at[image, "part"]) / image).convert("RGB")
        boxes = [(table.loc[image], colour) for table, colour in layers if image in table.index]
        aspect = boxes[0][0]["aspect"] if boxes else photo.width / photo.height
        photo = photo.resize((max(1, round(CELL[1] * aspect)), CELL[1]))
        for box, colour in boxes:
            lengths = np.array([photo.width - 1, photo.height - 1] * 2)
            ImageDraw.Draw(photo).rectangle((box[SIDES] * lengths).tolist(), outline=colour, width=2)
        pictures.append(photo)
        captions.append(f"{image} {boxes[-1][0]['iou']:.2f}" if len(checked) else image)
    return contact_sheet(pictures, captions, COLUMNS)
