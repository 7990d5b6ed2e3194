"""Stage `backbone`: build the network that training on whales starts from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from whaleid.core import paths
from whaleid.core.errors import WhaleidError
from whaleid.core.files import replacing
from whaleid.core.log import logger
from whaleid.model import checkpoint, pretrained, timm_models
from whaleid.model.backbone import library
from whaleid.model.network import Network

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params) -> None:
    """Write the checkpoint of the backbone, initialised as set by `backbone.weights`.

    Raises:
        WhaleidError: the backbone is unknown or does not support `backbone.fine`; or its weights do not exist, cannot
            be downloaded or do not fit.
    """
    settings = params.backbone
    name = timm_models.resolve(settings.name)
    torch.manual_seed(params.seed)
    network = Network(name, settings.embedding, classes=0, fine=settings.fine)
    if settings.weights == "none":
        source = f"random weights (seed {params.seed})"
    elif settings.weights != "DEFAULT":
        source = f"the weights of {settings.weights}"
        state = pretrained.from_file(_read(settings.weights), settings.weights)
    else:
        state, source = library(name).download(settings.name)
    if settings.weights != "none":
        pretrained.load(network.backbone, state, f"backbone.weights: {settings.weights}")
    path = paths.checkpoint("backbone")
    with replacing(path) as temporary:
        temporary.write_bytes(checkpoint.save(network, checkpoint.Description(classes=(), photos=None)))
    count = sum(weight.numel() for weight in network.embedder.parameters())
    logger.info(f"{path}: {name}, {count:,} parameters, {network.backbone.num_features} features, {source}")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise WhaleidError(
            f"backbone.weights: {path} cannot be read ({error.strerror}). Set it to the path of a state dict, to "
            f"DEFAULT (pretrained weights) or to none (random weights)."
        ) from None
