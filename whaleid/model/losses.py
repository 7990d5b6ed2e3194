"""Losses of embeddings (B, D) of unit length and their classes (B,).

Margins and mining are pytorch-metric-learning's, whose losses train the weight of `CosineClassifier`.
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
"""From embeddings, classes and the share of the margin that applies (0 to 1) to the loss, a scalar.

It is the mean over photos; `triplet` always applies its whole margin and is the mean over the triplets that violate it.
"""


def build(settings: Loss, classifier: CosineClassifier) -> LossFunction:
    """Return the loss that `settings` describe; all but `triplet` train `classifier` as well.

    - `softmax`: cross-entropy over scaled cosines (Wang et al. 2017, "NormFace").
    - `cosface`: a margin taken off the cosine (Wang et al. 2018, "CosFace").
    - `arcface`: a margin added to the angle (Deng et al. 2019, "ArcFace"); with several centres a class, to the angle
      of the closest (Deng et al. 2020, "Sub-center ArcFace").
    - `triplet`: hardest positive and hardest negative in the batch (Hermans et al. 2017, "In Defense of the Triplet
      Loss"). A photo without a second one of its class in the batch adds nothing.
    """
    if settings.kind == "softmax":
        return lambda embeddings, classes, _: F.cross_entropy(settings.scale * classifier(embeddings), classes)
    if settings.kind == "triplet":
        return _triplet(settings.margin)
    from pytorch_metric_learning import losses  # takes 0.4 s

    columns = {"num_classes": classifier.classes, "embedding_size": classifier.weight.shape[0], "scale": settings.scale}
    margin: LargeMarginSoftmaxLoss
    if settings.kind == "cosface":
        margin = losses.CosFaceLoss(**columns)
    elif classifier.centres == 1:
        margin = losses.ArcFaceLoss(**columns)
    else:
        margin = losses.SubCenterArcFaceLoss(**columns, sub_centers=classifier.centres)
    margin.W = classifier.weight

    def loss(embeddings: Tensor, classes: Tensor, share: float) -> Tensor:
        # the library takes degrees when it is made, but computes with this attribute, in radians
        margin.margin = settings.margin * share
        value: Tensor = margin(embeddings, classes)
        return value

    return loss


def _triplet(margin: float) -> LossFunction:
    from pytorch_metric_learning import distances, losses, miners

    distance = distances.LpDistance()
    mine, hinge = miners.BatchHardMiner(distance=distance), losses.TripletMarginLoss(margin=margin, distance=distance)

    def loss(embeddings: Tensor, classes: Tensor, _: float) -> Tensor:
        value: Tensor = hinge(embeddings, classes, mine(embeddings, classes))
        return value

    return loss
