"""The network: from photos to embeddings of unit length, and to their cosines with each class."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whaleid.model.backbone import Backbone

BLANK = 1.0
"""The smallest standard deviation, in grey levels, that a photo is divided by: a blank photo stays blank."""


class GeM(nn.Module):
    """Generalised-mean pooling, from maps (B, F, H, W) to features (B, F): between the mean (1) and the maximum.

    Radenović et al. 2019, "Fine-tuning CNN Image Retrieval with No Human Annotation". The exponent is learnt.
    """

    LEAST = 1e-4  # the mean is taken of what is above zero
    MOST = 8.0  # the exponent; beyond, powers of the least leave float32, and it is the maximum by then

    def __init__(self, exponent: float = 3.0) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor([exponent]))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the features (B, F), float32, of `maps` (B, F, H, W)."""
        # half precision has no room for the third power of a feature
        with torch.autocast(maps.device.type, enabled=False):
            exponent = self.exponent.clamp(1.0, self.MOST)
            # by logarithms: less than half the time of powers
            logs = maps.float().clamp(min=self.LEAST).log()
            return ((logs * exponent).exp().mean(dim=(2, 3)).log() / exponent).exp()


class Embedder(nn.Module):
    """Backbone, pooling, a linear layer to the embedding, and a neck: the layers that a variant starts from.

    The neck is a batch norm without shift (Luo et al. 2019, "Bag of Tricks and a Strong Baseline for Deep Person
    Re-identification"). A backbone without a map, such as a transformer, keeps its own pooling.

    `embedding` is D, its dimensions.
    """

    def __init__(self, backbone: Backbone, embedding: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = GeM() if backbone.has_map else nn.Identity()
        self.norm = nn.BatchNorm1d(backbone.features)
        self.reduce = nn.Linear(backbone.features, embedding, bias=False)
        self.neck = nn.BatchNorm1d(embedding)
        self.norm.bias.requires_grad_(False)
        self.neck.bias.requires_grad_(False)

    def forward(self, photos: Tensor) -> Tensor:
        """Return (B, D) from `photos` (B, 3, H, W)."""
        reduced: Tensor = self.neck(self.reduce(self.norm(self.pool(self.backbone(photos)))))
        return reduced


class CosineClassifier(nn.Module):
    """Cosines (B, C) between embeddings (B, D) of unit length and the classes: that of a class is its closest centre's.

    Several centres a class: Deng et al. 2020, "Sub-center ArcFace".
    """

    def __init__(self, embedding: int, classes: int, centres: int) -> None:
        super().__init__()
        # about unit length, so that a step of the optimiser turns a class as far whatever the size of the embedding;
        # (D, C * S) is the layout of pytorch-metric-learning, whose losses train this very tensor
        self.weight = nn.Parameter(torch.randn(embedding, classes * centres) / embedding**0.5)
        self.classes, self.centres = classes, centres

    def directions(self) -> Tensor:
        """Return the directions of the classes: (C, S, D), unit length."""
        return F.normalize(self.weight, dim=0).T.reshape(self.classes, self.centres, -1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the cosines (B, C), float32, of `embeddings` (B, D)."""
        # half precision knows a cosine near 1 to 0.004: too coarse once it is scaled
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = embeddings.float() @ F.normalize(self.weight, dim=0)
        return cosines if self.centres == 1 else cosines.view(-1, self.classes, self.centres).amax(dim=2)


class Network(nn.Module):
    """An embedder, which a variant takes over from another, and a classifier, which it trains anew.

    Args:
        backbone: a classification model as `Backbone` calls it, with random weights from torch's global generator.
        embedding: D, the dimensions of the embedding.
        classes: C; 0 before training on whales.
        centres: S, of each class.
        fine: leave out the last stride of the backbone; see `Backbone`.

    Raises:
        WhaleidError: there is no such classification model, or its last map cannot be made finer.
    """

    def __init__(self, backbone: str, embedding: int, classes: int, centres: int = 1, fine: bool = False) -> None:
        super().__init__()
        self.embedding = embedding
        self.embedder = Embedder(Backbone(backbone, fine), embedding)
        self.classifier = CosineClassifier(embedding, classes, centres)
        self._frozen: list[nn.Module] = []

    @property
    def backbone(self) -> Backbone:
        """The backbone of the embedder."""
        return self.embedder.backbone

    def forward(self, photos: Tensor) -> Tensor:
        """Return embeddings (B, D), float32, of unit length.

        `photos` is (B, C, H, W) float, standardised; C is 1 (grey) or 3.
        """
        return F.normalize(self.embedder(photos.expand(-1, 3, -1, -1)).float())

    def freeze(self, layers: list[nn.Module]) -> None:
        """Exclude `layers` from training from now on, and the statistics of their batch norms."""
        self._frozen = layers
        for layer in layers:
            layer.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen layers stay in evaluation mode."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self


def standardise(photos: Tensor) -> Tensor:
    """Convert packed photos, uint8 (B, H, W, C), to float32 (B, C, H, W), each with mean 0 and standard deviation 1.

    Each photo is standardised over all its pixels and channels, so that nothing is learnt from exposure and haze.
    """
    values = photos.permute(0, 3, 1, 2).float()
    deviation, mean = torch.std_mean(values, dim=(1, 2, 3), correction=0, keepdim=True)
    return (values - mean) / deviation.clamp(min=BLANK)
