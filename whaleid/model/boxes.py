"""A network that finds the fluke on a photo: any backbone, with a layer that says where the box lies.

The layer may say as well whether the photo is upside down.
"""

import torch
from torch import Tensor, nn

from whaleid.model.backbone import Backbone

SMALLEST = 0.05
"""The least width and height of a box, as a share of the photo: nobody could tell whose fluke a smaller one is."""


class BoxNetwork(nn.Module):
    """Backbone and one linear layer: from a photo to its fluke's box and to the shape that the photo had.

    Args:
        backbone: its weights are where training starts.
        turns: whether it also says which photos are upside down.
    """

    def __init__(self, backbone: Backbone, turns: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.turns = turns
        self.last = nn.Linear(backbone.features, 6 if turns else 5)
        # random weights would send noise back through the pretrained layers in the first steps
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, photos: Tensor) -> Tensor:
        """Return (B, 5) float32: left, top, right and bottom of the fluke's box, and the log of the photo's aspect.

        A network that `turns` returns (B, 6): the last is the logit of the photo being upside down.

        Args:
            photos: (B, C, H, W) float, whole photos stretched to one size, standardised; C is 1 (grey) or 3.

        The sides are fractions of the photo's width and height; right and bottom exceed left and top by `SMALLEST`
        or more. The aspect is the width / height of the photo before it was stretched.
        """
        found = self.last(self.backbone(photos.expand(-1, 3, -1, -1))).float()
        size, corner, others = found[:, :2], found[:, 2:4], found[:, 4:]
        # how large, then where in the room that this leaves: no box is turned round or reaches out of the photo
        size = SMALLEST + (1 - SMALLEST) * size.sigmoid()
        corner = (1 - size) * corner.sigmoid()
        return torch.cat([corner, corner + size, others], dim=1)
