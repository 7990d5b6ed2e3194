"""Train a box network on the labelled boxes of a catalogue, and predict the boxes of other photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from whaleid.core.labels import CORNERS
from whaleid.core.log import progress
from whaleid.detection import network as box_network
from whaleid.detection import training
from whaleid.detection.network import BoxNetwork
from whaleid.images.crop import FULL_BOX
from whaleid.images.pack import Region, Shape, pack
from whaleid.model.backbone import Backbone
from whaleid.model.device import pick_device

if TYPE_CHECKING:
    from whaleid.config import Boxes

BATCH_SIZE = 32
"""Number of photos per batch of prediction."""
ASPECT_TOLERANCE = 0.01
"""Relative tolerance when comparing the aspect in boxes.csv with the width / height of the photo file."""


def fit_predict(
    backbone: Backbone,
    photos: pd.DataFrame,
    train_set: pd.DataFrame,
    targets: pd.Index[str],
    root: Path,
    settings: Boxes,
    turns: bool,
    seed: int,
) -> tuple[pd.DataFrame, bytes]:
    """Train a box network, and predict the boxes of photos.

    Args:
        backbone: the pretrained backbone.
        photos: all photos, with the index Image and the columns part, width and height.
        train_set: the labelled boxes, with the index Image and the columns x0, y0, x1, y1 and aspect.
        targets: names of the photos to predict.
        root: the catalogue folder.
        settings: hyperparameters of the training.
        turns: whether to predict which photos are upside down.
        seed: seeds the weights of the head, the order of photos and their crops.

    Returns:
        The predictions for `targets`, with the index `targets` and the columns x0, y0, x1, y1, aspect, upside_down (a
        probability) and turned (bool), and the checkpoint.

    Raises:
        WhaleidError: a photo can no longer be read.
    """
    torch.manual_seed(seed)
    file_aspects = photos["width"] / photos["height"]
    squeezed = not np.allclose(train_set["aspect"], file_aspects[train_set.index], rtol=ASPECT_TOLERANCE, atol=0)
    network, device = BoxNetwork(backbone, settings.size, turns, squeezed), pick_device()
    needed = photos.loc[train_set.index.union(targets)]
    paths, side = [root / part / image for image, part in needed["part"].items()], settings.size
    regions, shape = [Region(FULL_BOX)] * len(paths), Shape(side, side, stretch=True)
    squares = np.stack(list(pack(paths, regions, shape)))  # (N, S, S, 1)
    boxes = np.column_stack([train_set[CORNERS], np.log(train_set["aspect"])]).astype(np.float32)
    training.train(network, squares[needed.index.get_indexer(train_set.index)], boxes, settings, seed, device)
    predictions = predict(network, squares[needed.index.get_indexer(targets)], device)

    predicted = pd.DataFrame(predictions[:, :4], columns=CORNERS, index=targets, dtype=float)
    predicted["aspect"] = box_network.original_aspects(network, predictions, file_aspects[targets].to_numpy())
    predicted["upside_down"] = predictions[:, 5].astype(float)
    predicted["turned"] = predictions[:, 5] > box_network.UPSIDE_DOWN_THRESHOLD
    return predicted, box_network.save(network)


def predict(network: BoxNetwork, photos: npt.NDArray[np.uint8], device: torch.device) -> npt.NDArray[np.float32]:
    """Predict the boxes (N, 6) of `photos` (N, H, W, C), see `network.predict`; switches the network to eval mode."""
    network.to(device).eval()
    batches = [np.empty((0, 6), dtype=np.float32)]
    starts = range(0, len(photos), BATCH_SIZE)
    for start in progress(starts, "boxes predicted", len(starts)):
        batch = torch.from_numpy(photos[start : start + BATCH_SIZE]).to(device)
        batches.append(box_network.predict(network, batch).cpu().numpy())
    return np.concatenate(batches)
