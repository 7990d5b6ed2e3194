"""A network that predicts the box of the fluke on a photo, and whether the photo is upside down."""

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

CERTAIN = 0.95
"""The probability of being upside down above which a photo is turned: a wrong turn costs more than none."""

SMALLEST = 0.05
"""The smallest width and height of a box, as a share of the photo: no whale can be identified by a smaller fluke."""


class BoxNetwork(nn.Module):
    """Backbone and linear head: from a photo to its fluke's box and to the aspect that the photo had.

    Args:
        backbone: its weights are where training starts.
        size: width and height in pixels that whole photos are stretched to.
        turns: whether it also predicts which photos are upside down.
        squeezed: whether photos come squeezed into another shape, so that their aspect has to be predicted.
    """

    def __init__(self, backbone: Backbone, size: int, turns: bool, squeezed: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.size, self.turns, self.squeezed = size, turns, squeezed
        self.head = nn.Linear(backbone.num_features, 6 if turns else 5)
        # random weights would send noise back through the pretrained layers in the first steps
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, photos: Tensor) -> Tensor:
        """Return (B, 5) float32: left, top, right and bottom of the fluke's box, and the log of the photo's aspect.

        A network that `turns` returns (B, 6): the last is the logit of the photo being upside down.

        Args:
            photos: (B, C, H, W) float, whole photos stretched to one size, standardised; C is 1 (grey) or 3.

        The sides are fractions of the photo's width and height; right and bottom exceed left and top by `SMALLEST`
        or more. The aspect is the width / height of the photo before it was stretched.
        """
        features = self.backbone(photos.expand(-1, 3, -1, -1))
        if self.backbone.has_map:
            features = features.mean(dim=(2, 3))
        output = self.head(features).float()
        size, corner, others = output[:, :2], output[:, 2:4], output[:, 4:]
        # the size first, then the position in the room that this leaves: every box lies inside the photo
        size = SMALLEST + (1 - SMALLEST) * size.sigmoid()
        corner = (1 - size) * corner.sigmoid()
        return torch.cat([corner, corner + size, others], dim=1)


@torch.inference_mode()
def predict(network: BoxNetwork, photos: Tensor) -> Tensor:
    """Return (B, 6): boxes as `BoxNetwork` returns them, and the probability that each photo is upside down.

    A network that turns averages its predictions of the photo and of the photo turned by 180 degrees; one that does not
    takes all photos for upright.

    Args:
        network: in evaluation mode.
        photos: uint8 (B, H, W, C), stretched as those that it was trained on, on its device.
    """
    inputs = standardise(photos)  # (B, C, H, W)
    with stable_threads(len(inputs)):
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
    """Return (N,) the width / height of the original photos that `boxes` (N, 5 or more) were predicted on.

    `own` (N,) are those of the photos as they come, which are right unless photos were squeezed.
    """
    return np.exp(boxes[:, 4].astype(np.float64)) if network.squeezed else own


class _BoxHeader(Header):
    kind: Literal["boxes"] = "boxes"
    backbone: str
    fine: bool
    size: Annotated[int, Field(ge=32, le=512)]  # as in the parameters
    turns: bool
    squeezed: bool


def save(network: BoxNetwork) -> bytes:
    """Return the bytes of a checkpoint: all that is needed to rebuild `network`."""
    header = _BoxHeader(
        backbone=network.backbone.name,
        fine=network.backbone.fine,
        size=network.size,
        turns=network.turns,
        squeezed=network.squeezed,
    )
    return tensors.save(network.state_dict(), header)


def load(data: bytes, name: str) -> BoxNetwork:
    """Rebuild a network, on the CPU, from the bytes of its checkpoint; `name` names the file in errors.

    Raises:
        WhaleidError: `data` is no whole checkpoint of such a network, or there is no such backbone.
        InputProblems: weights are missing, of another shape, or unknown.
    """
    weights, header = tensors.load(data, name, _BoxHeader)

    def build() -> BoxNetwork:
        return BoxNetwork(Backbone(header.backbone, header.fine), header.size, header.turns, header.squeezed)

    return rebuild(build, header.backbone, weights, name)
