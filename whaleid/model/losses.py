"""Metric-learning losses of embeddings (B, D) of unit length and their classes (B,).

Margin losses and mining are pytorch-metric-learning's. Its losses train the weight of `CosineClassifier`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from pytorch_metric_learning.losses import LargeMarginSoftmaxLoss

    from whaleid.config import Loss
    from whaleid.model.network import CosineClassifier

LossFunction = Callable[[Tensor, Tensor, float], Tensor]
"""Maps embeddings, classes and a factor of the margin (0 to 1) to a scalar loss, the mean over photos.

`triplet` ignores the factor; its loss is the mean over the triplets that violate the margin.
"""


def build(settings: Loss, classifier: CosineClassifier) -> LossFunction:
    """Build the loss function of `settings`. All losses except `triplet` also train `classifier`.

    - `softmax`: cross-entropy over scaled cosines (Wang et al. 2017, "NormFace").
    - `cosface`: a margin subtracted from the cosine (Wang et al. 2018, "CosFace").
    - `arcface`: a margin added to the angle (Deng et al. 2019, "ArcFace"); with several centres per class, to
      the angle to the closest centre (Deng et al. 2020, "Sub-center ArcFace").
    - `triplet`: hardest positive and hardest negative in the batch (Hermans et al. 2017, "In Defense of the Triplet
      Loss"). A photo without another photo of its class in the batch is ignored.
    """
    if settings.kind == "softmax":
        return lambda embeddings, classes, _: F.cross_entropy(settings.scale * classifier(embeddings), classes)
    if settings.kind == "triplet":
        return _triplet(settings.margin)
    from pytorch_metric_learning import losses  # its import takes 0.4 s

    options = {"num_classes": classifier.classes, "embedding_size": classifier.weight.shape[0], "scale": settings.scale}
    margin_loss: LargeMarginSoftmaxLoss
    if settings.kind == "cosface":
        margin_loss = losses.CosFaceLoss(**options)
    elif classifier.centres == 1:
        margin_loss = losses.ArcFaceLoss(**options)
    else:
        margin_loss = losses.SubCenterArcFaceLoss(**options, sub_centers=classifier.centres)
    margin_loss.W = classifier.weight

    def loss(embeddings: Tensor, classes: Tensor, margin_factor: float) -> Tensor:
        # the constructor takes degrees, but the loss is computed from this attribute, in radians
        margin_loss.margin = settings.margin * margin_factor
        value: Tensor = margin_loss(embeddings, classes)
        return value

    return loss


def _triplet(margin: float) -> LossFunction:
    from pytorch_metric_learning import distances, losses, miners

    distance = distances.LpDistance()
    miner = miners.BatchHardMiner(distance=distance)
    triplet_loss = losses.TripletMarginLoss(margin=margin, distance=distance)

    def loss(embeddings: Tensor, classes: Tensor, _: float) -> Tensor:
        value: Tensor = triplet_loss(embeddings, classes, miner(embeddings, classes))
        return value

    return loss
