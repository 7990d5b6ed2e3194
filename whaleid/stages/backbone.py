"""Stage `backbone`: the network before it has seen a whale."""

from __future__ import annotations

import sys
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import torch
from torchvision import models

from whaleid import loudness, paths
from whaleid.errors import WhaleidError
from whaleid.files import replacing
from whaleid.model.backbone import load_weights
from whaleid.model.checkpoint import Description, dumps, loads, to_checkpoint
from whaleid.model.network import Network

if TYPE_CHECKING:
    from whaleid.params import Params


def run(params: Params) -> None:
    """Write the checkpoint of the backbone, with the weights that `backbone.weights` asks for.

    Raises:
        WhaleidError: an unknown backbone, one that cannot be made finer, or weights that are not there, cannot be
            fetched or do not fit.
    """
    name, weights = params.backbone.name, params.backbone.weights
    torch.manual_seed(params.seed)
    network = Network(name, params.backbone.embedding, classes=0, fine=params.backbone.fine)
    if weights == "none":
        said = f"random weights (seed {params.seed})"
    elif weights == "DEFAULT":
        load_weights(network.backbone, _pretrained(name), "backbone.weights: DEFAULT")
        said = f"torchvision's pretrained weights ({models.get_model_weights(name).DEFAULT})"
    else:
        load_weights(network.backbone, _from_file(Path(weights)), f"backbone.weights: {weights}")
        said = f"the weights of {weights}"
    path = paths.checkpoint("backbone")
    with replacing(path) as temporary:
        temporary.write_bytes(dumps(to_checkpoint(network, Description(classes=(), photos=None))))
    count = sum(weight.numel() for weight in network.hidden.parameters())
    print(f"{path}: {name}, {count:,} parameters, {network.backbone.features} features, {said}")


def _from_file(path: Path) -> object:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WhaleidError(
            f"backbone.weights: {path} cannot be read ({error.strerror}). Name the file of a state dict (.pth), or "
            f"set DEFAULT (torchvision's pretrained weights) or none (random weights)."
        ) from None
    return loads(data, f"backbone.weights: {path}")


def _pretrained(name: str) -> object:
    """Return torchvision's own state dict, from torch's cache or else from the internet."""
    weights = models.get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            shown = sys.stderr.isatty() and not loudness.quiet()
            # torchvision's file names end in the beginning of their content's SHA-256
            digits = file.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(weights.url, str(file), digits, progress=shown)
        except (OSError, HTTPException, RuntimeError) as error:
            raise WhaleidError(
                f"backbone.weights: DEFAULT: {weights.url} could not be downloaded ({error}). Fetch {file.name} by "
                f"other means and put it at {file}, or set backbone.weights to where you keep it."
            ) from None
    return loads(file.read_bytes(), str(file))
