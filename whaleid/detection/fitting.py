"""Train a network on the boxes of a catalogue, and predict those of its other photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from whaleid.core.labels import CORNERS
from whaleid.detection import network as box_network
from whaleid.detection import prediction, training
from whaleid.detection.network import BoxNetwork
from whaleid.images.crop import WHOLE
from whaleid.images.pack import Region, Shape, pack
from whaleid.model.backbone import Backbone
from whaleid.model.device import pick_device

if TYPE_CHECKING:
    from whaleid.config import Boxes

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
    """Train a network and return its predictions and its checkpoint.

    Args:
        backbone: the network to start from.
        photos: `part,width,height` by Image.
        train_set: `x0,y0,x1,y1,aspect` by Image.
        targets: the photos to predict.
        root: the catalogue folder.
        settings: of training.
        turns: whether to predict which photos are upside down.
        seed: of the order of photos and of their crops.

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
    squares = stretch(needed, root, settings.size)
    boxes = np.column_stack([train_set[CORNERS], np.log(train_set["aspect"])]).astype(np.float32)
    training.train(network, squares[needed.index.get_indexer(train_set.index)], boxes, settings, seed, device)
    sides, upside_down = prediction.predict(network, squares[needed.index.get_indexer(targets)], device)

    predicted = pd.DataFrame(sides[:, :4], columns=CORNERS, index=targets, dtype=float)
    predicted["aspect"] = prediction.aspects(network, sides, own[targets].to_numpy())
    predicted["upside_down"], predicted["turned"] = upside_down.astype(float), upside_down > prediction.CERTAIN
    return predicted, box_network.save(network)


def stretch(photos: pd.DataFrame, root: Path, side: int) -> npt.NDArray[np.uint8]:
    """Return `photos` grey and whole, stretched to squares: (N, `side`, `side`, 1)."""
    paths = [root / part / image for image, part in photos["part"].items()]
    return np.stack(list(pack(paths, [Region(WHOLE)] * len(paths), Shape(side, side, stretch=True))))
