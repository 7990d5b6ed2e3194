"""Models of torchvision without their classifier, and their pretrained weights."""

import importlib
import re
import sys
from collections import OrderedDict
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from whaleid.core.errors import WhaleidError
from whaleid.model.architectures import Architecture, Weights, suggest


def _import_models() -> Any:
    """Import torchvision's models without torch._dynamo, which takes a second and which only RoIAlign needs."""
    name, models = "torch._dynamo.utils", "torchvision.models"
    if name not in sys.modules:
        stub: Any = ModuleType(name)
        stub.is_compile_supported = lambda device: importlib.import_module(name).is_compile_supported(device)
        sys.modules[name] = stub
        with suppress(ImportError):  # torchvision may need more of it in another version
            importlib.import_module(models)
        del sys.modules[name]
    return importlib.import_module(models)


models = _import_models()
LAST_MAP = {
    **dict.fromkeys(("alexnet", "convnext", "densenet", "efficientnet", "mobilenet", "squeezenet", "vgg"), "features"),
    **dict.fromkeys(("resnet", "resnext", "wide"), "layer4"),
    "googlenet": "inception5b",
    "inception": "Mixed_7c",
    "mnasnet": "layers",
    "regnet": "trunk_output",
    "shufflenet": "conv5",
    "swin": "permute",
}
"""The module before the pooling, by the first word of a torchvision model's name."""
TIMM_INSTEAD = {"vit": "timm/vit_base_patch16_224", "maxvit": "timm/maxvit_tiny_tf_224"}
"""Families of torchvision that are not supported, and a model of timm to use instead."""
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Prefixes of the auxiliary classifiers of GoogLeNet and Inception, which are left out."""


def build(name: str) -> Architecture:
    """Build the model `name`.

    Raises:
        WhaleidError: there is no such model, or its family is not supported.
    """
    known = models.list_models(module=models)
    if name not in known:
        hint = suggest(name, known) or f"there are: {', '.join(known)}."
        raise WhaleidError(f"backbone.name: torchvision has no classification model {name!r}; {hint}")
    family = re.split(r"[\d_]", name)[0]
    if family not in LAST_MAP:
        raise WhaleidError(
            f"backbone.name: torchvision's {name} is not supported. Use one of timm, such as {TIMM_INSTEAD[family]}."
        )
    options = {"aux_logits": False, "init_weights": True} if family in ("googlenet", "inception") else {}
    layers = list(models.get_model(name, weights=None, **options).named_children())
    end = [layer for layer, _ in layers].index(LAST_MAP[family]) + 1
    body = nn.Sequential(OrderedDict(layers[:end]))
    unused = (*(f"{layer}." for layer, _ in layers[end:]), *AUXILIARY)
    smallest = models.get_model_weights(name).DEFAULT.meta["min_size"]
    return Architecture(body, unused, smallest, fixed=False, rename=_rename)


def _rename(weights: Weights) -> Weights:
    """Return `weights` by the names that DenseNets have for them today; those of other models are not changed."""
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
    return {old.sub(r"\1\2.", key): weight for key, weight in weights.items()}


def count_parameters(name: str) -> int:
    """Return the number of parameters of the whole classifier without building it; 0 if there is no such model."""
    known = name in models.list_models(module=models)
    return int(models.get_model_weights(name).DEFAULT.meta["num_params"]) if known else 0


def download(name: str) -> tuple[Weights, str]:
    """Return the pretrained weights of the whole model, from torch's cache or from the internet, and their title.

    Raises:
        WhaleidError: they cannot be downloaded, or the file in the cache is damaged.
    """
    weights = models.get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    try:
        # file names end in the first digits of their SHA-256, which are compared after a download
        state: Weights = weights.get_state_dict(
            check_hash=True, progress=sys.stderr.isatty(), map_location="cpu", weights_only=True
        )
    except Exception as error:  # depends on the bytes of a damaged file
        if isinstance(error, OSError | HTTPException) or not file.exists():
            raise WhaleidError(
                f"backbone.weights: DEFAULT: {weights.url} could not be downloaded ({error}). Fetch {file.name} by "
                f"other means and put it at {file}, or set backbone.weights to where you keep it."
            ) from None
        raise WhaleidError(f"backbone.weights: DEFAULT: {file} is damaged. Remove it and try again.") from None
    return state, f"torchvision's pretrained weights ({weights})"
