"""The network: from photos to embeddings of unit length and, by their angle to each class, to logits."""

from collections import OrderedDict
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whaleid.model.backbone import Backbone

SCALE = 16.0
"""Of the cosines, before the softmax. It bounds how small the loss can get: a photo that lies on its own class and at
right angles to 4,000 others has ln(1 + 4000 exp(-scale)), which is 0.0005 at 16, but still 0.85 at 8."""
BLANK = 1.0
"""The least deviation, in grey levels, by which a photo is divided: a blank photo stays blank."""


class CosineClassifier(nn.Module):
    """Logits (B, C) from embeddings (B, F) of unit length: `scale` times the cosine to each class.

    NormFace: Wang et al. 2017, "NormFace: L2 Hypersphere Embedding for Face Verification".
    """

    def __init__(self, features: int, classes: int, scale: float) -> None:
        super().__init__()
        # about unit length, so that a step of the optimiser turns a class as far whatever the number of features
        self.weight = nn.Parameter(torch.randn(classes, features) / features**0.5)
        self.scale = scale

    def centres(self) -> Tensor:
        """Return the directions of the classes: (C, F), rows of unit length."""
        return F.normalize(self.weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the logits (B, C), float32, of `embeddings` (B, F)."""
        # half precision knows a cosine near 1 to 0.004: too coarse once it is scaled
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.scale * F.linear(embeddings, self.centres())


class Network(nn.Module):
    """Backbone, neck and cosine classifier.

    `hidden` is what a variant takes over from another, `last` what it learns anew. The neck is a batch norm
    without shift (Luo et al. 2019, "Bag of Tricks and a Strong Baseline for Deep Person Re-identification").

    Args:
        backbone: a torchvision classification model, with random weights from torch's global generator.
        classes: C; 0 for a network that has not met whales.
        scale: of the cosines.

    Raises:
        WhaleidError: torchvision has no such classification model.
    """

    def __init__(self, backbone: str, classes: int, scale: float = SCALE) -> None:
        super().__init__()
        body = Backbone(backbone)
        self.features = body.features
        neck = nn.BatchNorm1d(self.features)
        neck.bias.requires_grad_(False)
        self.hidden = nn.Sequential(OrderedDict(backbone=body, neck=neck))
        self.last = CosineClassifier(self.features, classes, scale)
        self._frozen = False

    @property
    def backbone(self) -> Backbone:
        """The first of the hidden layers."""
        body = self.hidden.backbone
        assert isinstance(body, Backbone)
        return body

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, F), of unit length, and logits (B, classes), both float32.

        `photos` is (B, C, H, W) float, standardised; C is 1 (grey) or 3.
        """
        features = self.hidden(photos.expand(-1, 3, -1, -1))  # (B, F)
        embeddings = F.normalize(features.float())
        return embeddings, self.last(embeddings)

    def renew_last(self, classes: int) -> None:
        """Put a new last layer of `classes` classes, random by torch's global generator, in place of the old one."""
        self.last = CosineClassifier(self.features, classes, self.last.scale).to(self.last.weight.device)

    def freeze_hidden(self) -> None:
        """Train the last layer alone from now on; the statistics of batch norms below it stay as they are, too."""
        self._frozen = True
        self.hidden.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen hidden layers stay in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.hidden.eval()
        return self


def standardise(photos: Tensor) -> Tensor:
    """Turn packed photos, uint8 (B, H, W, C), into float32 (B, C, H, W), each with mean 0 and deviation 1.

    Each by its own mean and deviation over all pixels and channels, so that exposure and haze are no part of what
    is learnt.
    """
    values = photos.permute(0, 3, 1, 2).float()
    deviation, mean = torch.std_mean(values, dim=(1, 2, 3), correction=0, keepdim=True)
    return (values - mean) / deviation.clamp(min=BLANK)
