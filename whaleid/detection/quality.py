"""How good predicted boxes are: figures, and contact sheets to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from whaleid.core.labels import CORNERS
from whaleid.images.decode import decode
from whaleid.images.previews import CELL, contact_sheet

PHOTOS, COLUMNS = 24, 6
"""The most photos of a sheet, and its columns."""


def measure(checked: pd.DataFrame, labelled: pd.DataFrame) -> dict[str, float]:
    """Return the figures of boxes predicted on photos held out: none if there are no such photos.

    Args:
        checked: `aspect,iou` by Image; `iou` is the intersection over union with the box in boxes.csv.
        labelled: `aspect` of these photos by Image.
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
    """Draw the boxes of boxes.csv green and predicted ones red, on photos held out or, if there are none, on any."""
    names = checked.index.tolist() if len(checked) else photos.index.tolist()
    pictures, captions = [], []
    for image in sorted(np.random.default_rng(seed).permutation(names)[:PHOTOS].tolist()):
        layers = (labelled, "lime"), (checked, "red")
        boxes = [(table.loc[image], colour) for table, colour in layers if image in table.index]
        photo = _preview(root / str(photos.at[image, "part"]) / image, boxes[0][0]["aspect"] if boxes else None)
        for box, colour in boxes:
            lengths = np.array([photo.width - 1, photo.height - 1] * 2)
            ImageDraw.Draw(photo).rectangle((box[CORNERS] * lengths).tolist(), outline=colour, width=2)
        pictures.append(photo)
        captions.append(f"{image} {boxes[-1][0]['iou']:.2f}" if len(checked) else image)
    return contact_sheet(pictures, captions, COLUMNS)


def draw_turned(photos: pd.DataFrame, aspects: pd.Series[float], turned: pd.Series[float], root: Path) -> Image.Image:
    """Draw the first photos of `turned`, as they come, each with its probability of being upside down."""
    sheet_photos = turned[:PHOTOS]
    pictures = [_preview(root / str(photos.at[image, "part"]) / image, aspects[image]) for image in sheet_photos.index]
    return contact_sheet(
        pictures, [f"{image} {probability:.3f}" for image, probability in sheet_photos.items()], COLUMNS
    )


def _preview(path: Path, aspect: float | None) -> Image.Image:
    """Return a photo for a contact sheet, in colour and in the shape `aspect`, or in its own."""
    photo = decode(path).convert("RGB")
    return photo.resize((max(1, round(CELL[1] * (aspect or photo.width / photo.height))), CELL[1]))
