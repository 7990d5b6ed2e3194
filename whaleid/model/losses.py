"""What training lowers: each loss takes embeddings (B, D) of unit length and their classes (B,).

The margins and the mining are those of pytorch-metric-learning, which train the tensor of our last layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch.nn.functional as F
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor

from whaleid.model.network import CosineClassifier

if TYPE_CHECKING:
    from whaleid.config import Loss

LossFunction = Callable[[Tensor, Tensor, float], Tensor]
"""From embeddings, classes and the share of the margin that is asked for (0 to 1) to the loss, a scalar.

It is the mean over photos; that of `triplet` asks for the whole margin from the start and is the mean over the triplets
that fall short of it.
"""


def build(settings: Loss, last: CosineClassifier) -> LossFunction:
    """Return the loss that `settings` describe; all but `triplet` train `last` as well.

    - `softmax`: cross-entropy over scaled cosines (Wang et al. 2017, "NormFace").
    - `cosface`: a margin taken off the cosine (Wang et al. 2018, "CosFace").
    - `arcface`: a margin added to the angle (Deng et al. 2019, "ArcFace"); where `last` has several centres a class, to
      that of the closest (Deng et al. 2020, "Sub-center ArcFace").
    - `triplet`: hardest positive and hardest negative in the batch (Hermans et al. 2017, "In Defense of the Triplet
      Loss"). A photo without a second one of its class in the batch adds nothing.
    """
    if settings.kind == "softmax":
        return lambda embeddings, classes, _: F.cross_entropy(settings.scale * last(embeddings), classes)
    if settings.kind == "triplet":
        return _triplet(settings.margin)
    columns = {"num_classes": last.classes, "embedding_size": last.weight.shape[0], "scale": settings.scale}
    margin: losses.LargeMarginSoftmaxLoss
    if settings.kind == "cosface":
        margin = losses.CosFaceLoss(**columns)
    elif last.centres == 1:
        margin = losses.ArcFaceLoss(**columns)
    else:
        margin = losses.SubCenterArcFaceLoss(**columns, sub_centers=last.centres)
    margin.W = last.weight

    def lower(embeddings: Tensor, classes: Tensor, share: float) -> Tensor:
        # the library takes degrees when it is made, but computes with this attribute, in radians
        margin.margin = settings.margin * share
        loss: Tensor = margin(embeddings, classes)
        return loss

    return lower


def _triplet(margin: float) -> LossFunction:
    distance = distances.LpDistance()
    mine, hinge = miners.BatchHardMiner(distance=distance), losses.TripletMarginLoss(margin=margin, distance=distance)

    def lower(embeddings: Tensor, classes: Tensor, _: float) -> Tensor:
        loss: Tensor = hinge(embeddings, classes, mine(embeddings, classes))
        return loss

    return lower
