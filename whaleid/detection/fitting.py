"""Train a network on the boxes of a catalogue, and predict those of its other photos."""

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
from whaleid.images.crop import WHOLE
from whaleid.images.pack import Region, Shape, pack
from whaleid.model.backbone import Backbone
from whaleid.model.device import pick_device

if TYPE_CHECKING:
    from whaleid.config import Boxes

BATCH = 32
"""Photos that are predicted together."""
ROUNDING = 0.01
"""By how much an aspect may differ, relatively, from the photo's own width / height."""


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
    """Train a network, and return what it predicts and its checkpoint.

    Args:
        backbone: the network to start from.
        photos: `part,width,height` by Image.
        train_set: `x0,y0,x1,y1,aspect` by Image.
        targets: the photos to predict.
        root: the catalogue folder.
        settings: of training.
        turns: whether to predict which photos are upside down.
        seed: of the network, of the order of photos and of their crops.

    Returns:
        `x0,y0,x1,y1,aspect,upside_down,turned` of `targets`, and the checkpoint. `upside_down` is a probability.

    Raises:
        WhaleidError: a photo can no longer be read.
    """
    torch.manual_seed(seed)
    own = photos["width"] / photos["height"]
    squeezed = not np.allclose(train_set["aspect"], own[train_set.index], rtol=ROUNDING, atol=0)
    network, device = BoxNetwork(backbone, settings.size, turns, squeezed), pick_device()
    needed = photos.loc[train_set.index.union(targets)]
    paths, side = [root / part / image for image, part in needed["part"].items()], settings.size
    squares = np.stack(list(pack(paths, [Region(WHOLE)] * len(paths), Shape(side, side, stretch=True))))  # (N, S, S, 1)
    boxes = np.column_stack([train_set[CORNERS], np.log(train_set["aspect"])]).astype(np.float32)
    training.train(network, squares[needed.index.get_indexer(train_set.index)], boxes, settings, seed, device)
    predictions = predict(network, squares[needed.index.get_indexer(targets)], device)

    predicted = pd.DataFrame(predictions[:, :4], columns=CORNERS, index=targets, dtype=float)
    predicted["aspect"] = box_network.aspects(network, predictions, own[targets].to_numpy())
    predicted["upside_down"] = predictions[:, 5].astype(float)
    predicted["turned"] = predictions[:, 5] > box_network.CERTAIN
    return predicted, box_network.save(network)


def predict(network: BoxNetwork, photos: npt.NDArray[np.uint8], device: torch.device) -> npt.NDArray[np.float32]:
    """Return (N, 6), as `network.predict` does, of `photos` (N, H, W, C); leave the network in evaluation mode."""
    network.to(device).eval()
    batches = [np.empty((0, 6), dtype=np.float32)]
    starts = range(0, len(photos), BATCH)
    for start in progress(starts, "boxes predicted", len(starts)):
        batch = torch.from_numpy(photos[start : start + BATCH]).to(device)
        batches.append(box_network.predict(network, batch).cpu().numpy())
    return np.concatenate(batches)
