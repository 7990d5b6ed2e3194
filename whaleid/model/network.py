"""The network: maps photos to embeddings of unit length, and embeddings to their cosines with each class."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whaleid.model.backbone import Backbone

MIN_STD = 1.0
"""Minimum standard deviation, in grey levels, that a photo is divided by, so that a blank photo stays blank."""


class GeM(nn.Module):
    """Generalised-mean pooling with a trainable exponent: maps feature maps (B, F, H, W) to features (B, F).

    Exponent 1 is the mean; larger ones approach the maximum. Radenović et al. 2019, "Fine-tuning CNN Image Retrieval
    with No Human Annotation".
    """

    EPS = 1e-4  # smaller values are clamped to it
    MAX_EXPONENT = 8.0  # nearly the maximum already; higher powers of EPS underflow float32

    def __init__(self, exponent: float = 3.0) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor([exponent]))

    def forward(self, maps: Tensor) -> Tensor:
        """Pool feature maps `maps` (B, F, H, W) to features (B, F), float32."""
        # half precision is too coarse for powers of a feature
        with torch.autocast(maps.device.type, enabled=False):
            exponent = self.exponent.clamp(1.0, self.MAX_EXPONENT)
            # logarithms take less than half the time of powers
            logs = maps.float().clamp(min=self.EPS).log()
            return ((logs * exponent).exp().mean(dim=(2, 3)).log() / exponent).exp()


class Embedder(nn.Module):
    """Backbone, pooling, a linear layer to the embedding and a neck: the layers that a variant starts from.

    The neck is a batch norm without bias (Luo et al. 2019, "Bag of Tricks and a Strong Baseline for Deep Person
    Re-identification"). A backbone without a feature map, such as a transformer, keeps its own pooling.
    `embedding_dim` is D.
    """

    def __init__(self, backbone: Backbone, embedding_dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = GeM() if backbone.has_map else nn.Identity()
        self.norm = nn.BatchNorm1d(backbone.num_features)
        self.reduce = nn.Linear(backbone.num_features, embedding_dim, bias=False)
        self.neck = nn.BatchNorm1d(embedding_dim)
        self.norm.bias.requires_grad_(False)
        self.neck.bias.requires_grad_(False)

    def forward(self, photos: Tensor) -> Tensor:
        """Map `photos` (B, 3, H, W) to embeddings (B, D), not normalised."""
        embeddings: Tensor = self.neck(self.reduce(self.norm(self.pool(self.backbone(photos)))))
        return embeddings


class CosineClassifier(nn.Module):
    """Compute the cosines (B, C) between embeddings (B, D) of unit length and the closest centre of each class.

    `classes` is C. `centres` is S, the number of centres per class (Deng et al. 2020, "Sub-center ArcFace").
    """

    def __init__(self, embedding_dim: int, classes: int, centres: int) -> None:
        super().__init__()
        # columns have about unit length, so that an optimiser step rotates a prototype by the same angle for any D;
        # (D, C * S) is the layout of pytorch-metric-learning, whose losses train this tensor in place
        self.weight = nn.Parameter(torch.randn(embedding_dim, classes * centres) / embedding_dim**0.5)
        self.classes, self.centres = classes, centres

    def prototypes(self) -> Tensor:
        """Return the prototypes of the classes, one per centre: (C, S, D), unit length."""
        return F.normalize(self.weight, dim=0).T.reshape(self.classes, self.centres, -1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Compute the cosines (B, C), float32, of `embeddings` (B, D)."""
        # half precision resolves a cosine near 1 to 0.004 only, too coarse for scaled cosines
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = embeddings.float() @ F.normalize(self.weight, dim=0)
        return cosines if self.centres == 1 else cosines.view(-1, self.classes, self.centres).amax(dim=2)


class Network(nn.Module):
    """An embedder, which a variant initialises from another variant, and a classifier, which it trains from scratch.

    Args:
        backbone: name of a classification model; see `Backbone`. Weights are drawn from torch's global generator.
        embedding_dim: D, the dimension of the embedding.
        classes: C, the number of classes; 0 before training on whales.
        centres: S, the number of centres per class.
        fine: remove the last stride of the backbone; see `Backbone`.

    Raises:
        WhaleidError: the model does not exist, or its last stride cannot be removed.
    """

    def __init__(self, backbone: str, embedding_dim: int, classes: int, centres: int = 1, fine: bool = False) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.embedder = Embedder(Backbone(backbone, fine), embedding_dim)
        self.classifier = CosineClassifier(embedding_dim, classes, centres)
        self._frozen: list[nn.Module] = []

    @property
    def backbone(self) -> Backbone:
        """The backbone of the embedder."""
        return self.embedder.backbone

    def forward(self, photos: Tensor) -> Tensor:
        """Map standardised `photos` (B, C, H, W), float, to embeddings (B, D), float32 of unit length.

        C is 1 (greyscale) or 3.
        """
        return F.normalize(self.embedder(photos.expand(-1, 3, -1, -1)).float())

    def freeze(self, layers: list[nn.Module]) -> None:
        """Freeze `layers`, including the running statistics of their batch norms."""
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

    Statistics are computed over all pixels and channels of each photo, so that exposure and haze have no influence.
    """
    values = photos.permute(0, 3, 1, 2).float()
    deviation, mean = torch.std_mean(values, dim=(1, 2, 3), correction=0, keepdim=True)
    return (values - mean) / deviation.clamp(min=MIN_STD)
