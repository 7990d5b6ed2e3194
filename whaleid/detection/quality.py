"""Evaluate predicted boxes: metrics and contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from whaleid.core.labels import CORNERS
from whaleid.images.decode import decode
from whaleid.images.previews import CELL, contact_sheet

MAX_PHOTOS, COLUMNS = 24, 6
"""Maximum number of photos on a contact sheet, and its number of columns."""


def box_metrics(checked: pd.DataFrame, labelled: pd.DataFrame) -> dict[str, float]:
    """Compute metrics of the boxes predicted on held-out photos; empty if there are none.

    Args:
        checked: predictions, with the index Image and the columns aspect and iou (intersection over union with the box
            in boxes.csv).
        labelled: ground truth, with the index Image and the column aspect.
    """
    if checked.empty:
        return {}
    return {
        "held_out": len(checked),
        "iou": checked["iou"].mean(),
        "iou_median": checked["iou"].median(),
        "iou_over_50": (checked["iou"] > 0.5).mean(),
        "iou_over_75": (checked["iou"] > 0.75).mean(),
        "aspect_error": (checked["aspect"] / labelled["aspect"] - 1).abs().mean(),
    }


def draw_boxes(
    photos: pd.DataFrame, labelled: pd.DataFrame, checked: pd.DataFrame, root: Path, seed: int
) -> Image.Image:
    """Draw labelled boxes (green) and predicted boxes (red) on random photos of `checked`, or of `photos` if empty."""
    names = checked.index.tolist() if len(checked) else photos.index.tolist()
    pictures, captions = [], []
    for image in sorted(np.random.default_rng(seed).permutation(names)[:MAX_PHOTOS].tolist()):
        layers = (labelled, "lime"), (checked, "red")
        boxes = [(table.loc[image], colour) for table, colour in layers if image in table.index]
        photo = _preview(root / str(photos.at[image, "part"]) / image, boxes[0][0]["aspect"] if boxes else None)
        for box, colour in boxes:
            lengths = np.array([photo.width - 1, photo.height - 1] * 2)
            ImageDraw.Draw(photo).rectangle((box[CORNERS] * lengths).tolist(), outline=colour, width=2)
        pictures.append(photo)
        captions.append(f"{image} {boxes[-1][0]['iou']:.2f}" if len(checked) else image)
    return contact_sheet(pictures, captions, COLUMNS)


def draw_upside_down(
    photos: pd.DataFrame, aspects: pd.Series[float], probabilities: pd.Series[float], root: Path
) -> Image.Image:
    """Draw the first photos of `probabilities`, not rotated; captions give the probability of being upside down."""
    sheet_photos = probabilities[:MAX_PHOTOS]
    pictures = [_preview(root / str(photos.at[image, "part"]) / image, aspects[image]) for image in sheet_photos.index]
    return contact_sheet(
        pictures, [f"{image} {probability:.3f}" for image, probability in sheet_photos.items()], COLUMNS
    )


def _preview(path: Path, aspect: float | None) -> Image.Image:
    """Read a photo for a contact sheet, in RGB and with the given aspect (default: its own)."""
    photo = decode(path).convert("RGB")
    return photo.resize((max(1, round(CELL[1] * (aspect or photo.width / photo.height))), CELL[1]))
