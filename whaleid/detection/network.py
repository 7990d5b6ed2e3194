"""The box network: it predicts the box of the fluke in a photo, and whether the photo is upside down."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from whaleid.model import tensors
from whaleid.model.backbone import Backbone, rebuild
from whaleid.model.device import stable_threads
from whaleid.model.network import standardise
from whaleid.model.tensors import Header

UPSIDE_DOWN_THRESHOLD = 0.95
"""Probability of being upside down above which a photo is rotated. It is high because a wrong rotation costs more than
a missing one."""

MIN_SIDE = 0.05
"""Minimum width and height of a box, as a share of the photo. A smaller fluke cannot be identified."""


class BoxNetwork(nn.Module):
    """A backbone with a linear head that predicts the box of the fluke and the original aspect of the photo.

    Args:
        backbone: the pretrained backbone.
        size: width and height in pixels to which photos are stretched.
        turns: whether to predict which photos are upside down as well.
        squeezed: whether photo files were squeezed into another shape, so that the original aspect must be predicted.
    """

    def __init__(self, backbone: Backbone, size: int, turns: bool, squeezed: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.size, self.turns, self.squeezed = size, turns, squeezed
        self.head = nn.Linear(backbone.num_features, 6 if turns else 5)
        # with random weights, the first steps would propagate noise into the pretrained layers
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, photos: Tensor) -> Tensor:
        """Predict boxes in `photos` (B, C, H, W) float: standardised and stretched to one size; C is 1 (grey) or 3.

        Returns (B, 5) float32: left, top, right, bottom and the logarithm of the original aspect, width / height. With
        `turns`, (B, 6): the last column is the logit of being upside down. The sides of the box are fractions of the
        photo's width and height. A box is inside the photo, and at least `MIN_SIDE` wide and high.
        """
        features = self.backbone(photos.expand(-1, 3, -1, -1))
        if self.backbone.has_map:
            features = features.mean(dim=(2, 3))
        output = self.head(features).float()
        size, corner, other_outputs = output[:, :2], output[:, 2:4], output[:, 4:]
        # the position is relative to the remaining space, so that all boxes are inside the photo
        size = MIN_SIDE + (1 - MIN_SIDE) * size.sigmoid()
        corner = (1 - size) * corner.sigmoid()
        return torch.cat([corner, corner + size, other_outputs], dim=1)


@torch.inference_mode()
def predict(network: BoxNetwork, photos: Tensor) -> Tensor:
    """Predict boxes, and the probability that photos are upside down.

    A network that `turns` averages its predictions for the photo and for the photo rotated by 180 degrees. Otherwise,
    the probability is 0. Returns (B, 6): the five columns of `BoxNetwork.forward`, and the probability.

    Args:
        network: in eval mode.
        photos: (B, H, W, C) uint8, stretched to the size of the network, on its device.
    """
    inputs = standardise(photos)  # (B, C, H, W)
    with stable_threads(len(inputs)):
        upright: Tensor = network(inputs)  # (B, 5 or 6)
        if not network.turns:
            return F.pad(upright, (0, 1))
        rotated = network(inputs.flip(-2, -1))
    boxes = (upright[:, :5] + rotate_boxes(rotated[:, :5])) / 2
    return torch.cat([boxes, ((upright[:, 5:] - rotated[:, 5:]) / 2).sigmoid()], dim=1)


def rotate_boxes(boxes: Tensor) -> Tensor:
    """Return the positions of `boxes` (B, 5) after their photos are rotated by 180 degrees."""
    return torch.cat([1 - boxes[:, 2:4], 1 - boxes[:, 0:2], boxes[:, 4:]], dim=1)


def original_aspects(
    network: BoxNetwork, boxes: npt.NDArray[np.float32], file_aspects: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the original width / height (N,) of photos.

    If photos were squeezed, it is the prediction in `boxes` (N, 5 or more), else the aspect of the file (N,).
    """
    return np.exp(boxes[:, 4].astype(np.float64)) if network.squeezed else file_aspects


class _BoxHeader(Header):
    kind: Literal["boxes"] = "boxes"
    backbone: str
    fine: bool
    size: Annotated[int, Field(ge=32, le=512)]  # as in the parameters
    turns: bool
    squeezed: bool


def save(network: BoxNetwork) -> bytes:
    """Return the bytes of a checkpoint of `network`."""
    header = _BoxHeader(
        backbone=network.backbone.name,
        fine=network.backbone.fine,
        size=network.size,
        turns=network.turns,
        squeezed=network.squeezed,
    )
    return tensors.save(network.state_dict(), header)


def load(data: bytes, name: str) -> BoxNetwork:
    """Load a box network on the CPU from the bytes of its checkpoint; `name` is the file name in error messages.

    Raises:
        WhaleidError: `data` is not a complete checkpoint of a box network, or its backbone is unknown.
        InputProblems: weights are missing, unexpected or of another shape.
    """
    weights, header = tensors.load(data, name, _BoxHeader)

    def build() -> BoxNetwork:
        return BoxNetwork(Backbone(header.backbone, header.fine), header.size, header.turns, header.squeezed)

    return rebuild(build, header.backbone, weights, name)
