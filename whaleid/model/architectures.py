"""Classification models of torchvision and timm without their classifier. No weights are downloaded here."""

import importlib
import re
import sys
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from whaleid.core.errors import WhaleidError
from whaleid.model import timm_models
from whaleid.model.timm_models import TIMM, Architecture, suggest


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
    """Build the model that `backbone.name` names.

    Raises:
        WhaleidError: there is no such model, its family is not supported, or timm is not installed.
    """
    if name.startswith(TIMM):
        return timm_models.build(name)
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
    return Architecture(body, unused, models.get_model_weights(name).DEFAULT.meta["min_size"], fixed=False)


def count_parameters(name: str) -> int:
    """Return the number of parameters of the whole classifier without building it; 0 if it cannot be built.

    Raises:
        WhaleidError: there is no such model of timm, or timm is not installed.
    """
    if name.startswith(TIMM):
        return timm_models.count_parameters(name)
    known = name in models.list_models(module=models)
    return int(models.get_model_weights(name).DEFAULT.meta["num_params"]) if known else 0


def rename_weights(name: str, body: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return `weights` by the names that the model has for them today; files may have names of older versions."""
    if name.startswith(TIMM):
        return timm_models.rename_weights(body, weights)
    if name.startswith("densenet"):
        old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
        return {old.sub(r"\1\2.", key): weight for key, weight in weights.items()}
    return weights
