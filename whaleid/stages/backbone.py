"""Stage `backbone`: the network before it has seen a whale."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torchvision import models

from whaleid.core import paths
from whaleid.core.files import replacing
from whaleid.model.backbone import load_weights
from whaleid.model.checkpoint import Description, dumps, to_checkpoint
from whaleid.model.network import Network
from whaleid.model.zoo import TIMM
from whaleid.stages import pretrained

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> None:
    """Write the checkpoint of the backbone, with the weights that `backbone.weights` asks for.

    Raises:
        WhaleidError: an unknown backbone, one that cannot be made finer, or weights that are not there, cannot be
            fetched or do not fit.
    """
    asked, weights = params.backbone.name, params.backbone.weights
    name = pretrained.architecture(asked)
    torch.manual_seed(params.seed)
    network = Network(name, params.backbone.embedding, classes=0, fine=params.backbone.fine)
    if weights == "none":
        said = f"random weights (seed {params.seed})"
    elif weights == "DEFAULT":
        ours = name.startswith(TIMM)
        found = pretrained.of_timm(asked) if ours else pretrained.of_torchvision(name)
        load_weights(network.backbone, found, "backbone.weights: DEFAULT")
        whose = f"timm's pretrained weights ({asked.removeprefix(TIMM)})"
        said = whose if ours else f"torchvision's pretrained weights ({models.get_model_weights(name).DEFAULT})"
    else:
        load_weights(network.backbone, pretrained.of_file(Path(weights)), f"backbone.weights: {weights}")
        said = f"the weights of {weights}"
    path = paths.checkpoint("backbone")
    with replacing(path) as temporary:
        temporary.write_bytes(dumps(to_checkpoint(network, Description(classes=(), photos=None))))
    count = sum(weight.numel() for weight in network.hidden.parameters())
    print(f"{path}: {name}, {count:,} parameters, {network.backbone.features} features, {said}")
