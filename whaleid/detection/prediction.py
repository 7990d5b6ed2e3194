"""Predict the boxes of flukes, and which photos are upside down."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from whaleid.core.log import progress
from whaleid.detection.network import BoxNetwork
from whaleid.model.network import standardise

BATCH = 32
"""Photos that are predicted together."""
CERTAIN = 0.95
"""The probability of being upside down above which a photo is turned: a wrong turn costs more than none."""


def predict(
    network: BoxNetwork, photos: npt.NDArray[np.uint8], device: torch.device
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return boxes (N, 5) float32 of `photos`, and the probability (N,) that each photo is upside down.

    Args:
        network: left on `device`, in evaluation mode. One that does not turn takes all photos for upright.
        photos: (N, H, W, C), stretched as those that it was trained on. Boxes are those of photos as they come.
        device: where to compute.
    """
    network.to(device).eval()
    batches = [np.empty((0, 6), dtype=np.float32)]
    starts = range(0, len(photos), BATCH)
    for start in progress(starts, "boxes predicted", len(starts)):
        batches.append(predict_batch(network, torch.from_numpy(photos[start : start + BATCH]).to(device)).cpu().numpy())
    predictions = np.concatenate(batches)
    return predictions[:, :5], predictions[:, 5]


@torch.inference_mode()
def predict_batch(network: BoxNetwork, photos: Tensor) -> Tensor:
    """Return (B, 6), the boxes and probabilities of `predict`, for uint8 (B, H, W, C) on the network's device.

    A network that turns averages its predictions of the photo and of the photo turned by 180 degrees.
    """
    inputs = standardise(photos)  # (B, C, H, W)
    upright: Tensor = network(inputs)  # (B, 5 or 6)
    if not network.turns:
        return F.pad(upright, (0, 1))
    turned = network(inputs.flip(-2, -1))
    boxes = (upright[:, :5] + turn_boxes(turned[:, :5])) / 2
    return torch.cat([boxes, ((upright[:, 5:] - turned[:, 5:]) / 2).sigmoid()], dim=1)


def turn_boxes(boxes: Tensor) -> Tensor:
    """Return where `boxes` (B, 5) lie after their photos are turned by 180 degrees."""
    return torch.cat([1 - boxes[:, 2:4], 1 - boxes[:, 0:2], boxes[:, 4:]], dim=1)


def aspects(
    network: BoxNetwork, boxes: npt.NDArray[np.float32], own: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return (N,) the width / height of the original photos that `boxes` (N, 5) were predicted on.

    `own` (N,) are those of the photos as they come, which are right unless photos were squeezed.
    """
    return np.exp(boxes[:, 4].astype(np.float64)) if network.squeezed else own
