"""A network that finds the fluke on a photo: any backbone, with a layer that says where the box lies."""

import torch
from torch import Tensor, nn

from whaleid.model.backbone import Backbone

SMALLEST = 0.05
"""The least width and height of a box, as a share of the photo: a smaller fluke could not be told apart anyway."""


class BoxNetwork(nn.Module):
    """Backbone and one linear layer, from a photo to a box and to the shape that the photo had.

    Args:
        backbone: its weights are taken as they are, and trained on.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.last = nn.Linear(backbone.features, 5)
        # from no features to a box: the first steps shall not shake the pretrained layers
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, photos: Tensor) -> Tensor:
        """Return (B, 5) float32: left, top, right and bottom of the fluke's box, and the log of the photo's aspect.

        Args:
            photos: (B, C, H, W) float, whole photos stretched to one size, standardised; C is 1 (grey) or 3.

        The sides are fractions of the photo's width and height, left and top being less than right and bottom by
        `SMALLEST` or more. The aspect is the width / height that the photo had before it was stretched.
        """
        said = self.last(self.backbone(_tinted(photos.expand(-1, 3, -1, -1)))).float()
        # how large, then where in the room that this leaves: every box is whole and inside the photo
        size = SMALLEST + (1 - SMALLEST) * said[:, 0:2].sigmoid()
        corner = (1 - size) * said[:, 2:4].sigmoid()
        return torch.cat([corner, corner + size, said[:, 4:]], dim=1)


def _tinted(photos: Tensor) -> Tensor:
    """Tint `photos` (B, 3, H, W) by place: redder to the right, bluer to the bottom.

    A backbone averages over the photo and forgets where it saw a thing; by its colour it can tell (Liu et al. 2018,
    "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution").
    """
    _, _, height, width = photos.shape
    across = torch.linspace(-1, 1, width, device=photos.device).expand(height, width)
    down = torch.linspace(-1, 1, height, device=photos.device).view(-1, 1).expand(height, width)
    return photos + torch.stack([across, torch.zeros_like(across), down])
