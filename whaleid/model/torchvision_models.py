"""torchvision models without their classifier, and their pretrained weights."""

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
from whaleid.model.architectures import Architecture, StateDict, suggest


def _import_models() -> Any:
    """Import torchvision's models without torch._dynamo, which takes a second. Only RoIAlign needs it."""
    name, models = "torch._dynamo.utils", "torchvision.models"
    if name not in sys.modules:
        stub: Any = ModuleType(name)
        stub.is_compile_supported = lambda device: importlib.import_module(name).is_compile_supported(device)
        sys.modules[name] = stub
        with suppress(ImportError):  # other versions of torchvision may need more than the stub
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
"""The last module before the pooling, by model family (the first word of a model's name)."""
TIMM_NAMES = {"vit": "timm/vit_base_patch16_224", "maxvit": "timm/maxvit_tiny_tf_224"}
"""Unsupported torchvision model families, each with a timm model to use instead."""
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Prefixes of the weights of GoogLeNet's and Inception's auxiliary classifiers, which are not used."""


def build(name: str) -> Architecture:
    """Build the model `name`.

    Raises:
        WhaleidError: the model does not exist, or its family is not supported.
    """
    names = models.list_models(module=models)
    if name not in names:
        hint = suggest(name, names) or f"available: {', '.join(names)}."
        raise WhaleidError(f"backbone.name: torchvision has no classification model {name!r}; {hint}")
    family = re.split(r"[\d_]", name)[0]
    if family not in LAST_MAP:
        raise WhaleidError(
            f"backbone.name: torchvision's {name} is not supported. Use a timm model, such as {TIMM_NAMES[family]}."
        )
    options = {"aux_logits": False, "init_weights": True} if family in ("googlenet", "inception") else {}
    layers = list(models.get_model(name, weights=None, **options).named_children())
    end = [layer for layer, _ in layers].index(LAST_MAP[family]) + 1
    body = nn.Sequential(OrderedDict(layers[:end]))
    ignored_prefixes = (*(f"{layer}." for layer, _ in layers[end:]), *AUXILIARY)
    min_size = models.get_model_weights(name).DEFAULT.meta["min_size"]
    return Architecture(body, ignored_prefixes, min_size, fixed_size=False, convert=_convert)


def _convert(weights: StateDict) -> StateDict:
    """Rename DenseNet weights from their old names; return the weights of other models unchanged."""
    old_name = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
    return {old_name.sub(r"\1\2.", key): weight for key, weight in weights.items()}


def count_parameters(name: str) -> int:
    """Return the number of parameters of the full classification model without building it; 0 if it does not exist."""
    exists = name in models.list_models(module=models)
    return int(models.get_model_weights(name).DEFAULT.meta["num_params"]) if exists else 0


def download(name: str) -> tuple[StateDict, str]:
    """Return the pretrained state dict of the full model, from torch's cache or the internet, and its description.

    Raises:
        WhaleidError: the weights cannot be downloaded, or the file in the cache is damaged.
    """
    weights = models.get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    try:
        # check_hash compares the SHA-256 with the digits in the file name, only after a download
        state: StateDict = weights.get_state_dict(
            check_hash=True, progress=sys.stderr.isatty(), map_location="cpu", weights_only=True
        )
    except Exception as error:  # the exception type depends on the bytes of a damaged file
        if isinstance(error, OSError | HTTPException) or not file.exists():
            raise WhaleidError(
                f"backbone.weights: DEFAULT: {weights.url} could not be downloaded ({error}). Download {file.name} "
                f"in another way and put it at {file}, or set backbone.weights to its path."
            ) from None
        raise WhaleidError(f"backbone.weights: DEFAULT: {file} is damaged. Remove it and try again.") from None
    return state, f"torchvision's pretrained weights ({weights})"
