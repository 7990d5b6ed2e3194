"""A network that finds the fluke on a photo: any backbone, with a layer that says where the box lies.

The layer may say as well whether the photo is upside down.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from whaleid.core.errors import WhaleidError
from whaleid.model.backbone import Backbone, load_exactly
from whaleid.model.checkpoint import MEND, refuse_hollow, refuse_larger, state

SIZES = 32, 512
"""The least and the most pixels of a side that whole photos are stretched to."""
SMALLEST = 0.05
"""The least width and height of a box, as a share of the photo: nobody could tell whose fluke a smaller one is."""


class BoxNetwork(nn.Module):
    """Backbone and one linear layer: from a photo to its fluke's box and to the shape that the photo had.

    Args:
        backbone: its weights are where training starts.
        size: width and height in pixels that whole photos are stretched to.
        turns: whether it also says which photos are upside down.
        squeezed: whether photos come squeezed into another shape, so that only the network tells their aspect.
    """

    def __init__(self, backbone: Backbone, size: int, turns: bool, squeezed: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.size, self.turns, self.squeezed = size, turns, squeezed
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


def to_checkpoint(network: BoxNetwork) -> dict[str, object]:
    """Return all that is needed to rebuild `network`, its tensors on the CPU."""
    return {
        "backbone": network.backbone.name,
        "fine": network.backbone.fine,
        "size": network.size,
        "turns": network.turns,
        "squeezed": network.squeezed,
        "weights": state(network),
    }


def from_checkpoint(checkpoint: object, name: str) -> BoxNetwork:
    """Rebuild a network, on the CPU, from what `to_checkpoint` returned; `name` names its file in errors.

    Raises:
        WhaleidError: it is no such checkpoint, or there is no such backbone.
        InputProblems: weights are missing, of another shape, or not of this backbone.
    """
    keys = {"backbone": str, "fine": bool, "size": int, "turns": bool, "squeezed": bool, "weights": Mapping}
    if not isinstance(checkpoint, Mapping) or not all(isinstance(checkpoint.get(key), keys[key]) for key in keys):
        raise WhaleidError(f"{name} is no checkpoint of a network that finds flukes. {MEND}")
    if not SIZES[0] <= checkpoint["size"] <= SIZES[1]:
        raise WhaleidError(f"{name}: photos of {checkpoint['size']} pixels are not between {SIZES[0]} and {SIZES[1]}.")
    refuse_hollow(checkpoint["weights"].values(), name)
    try:
        refuse_larger(checkpoint["backbone"], checkpoint["weights"], name)
        backbone = Backbone(checkpoint["backbone"], checkpoint["fine"])
    except WhaleidError as error:
        raise WhaleidError(f"{name}: {error}") from None
    network = BoxNetwork(backbone, checkpoint["size"], checkpoint["turns"], checkpoint["squeezed"])
    load_exactly(network, checkpoint["weights"], f"{name} does not fit its backbone, {backbone.name}", MEND)
    return network
