"""Classification models of torchvision and, by names that begin with timm/, of timm, without their classifier.

timm is optional and imported only for such a name. No weights are downloaded here.
"""

import difflib
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from whaleid.core.errors import WhaleidError


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
TIMM = "timm/"
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
SIDES = (32, 128)
"""Pixels: the smallest sides that a model of timm is tried with."""


@dataclass(frozen=True)
class Architecture:
    """A model without its classifier, with random weights drawn from torch's global generator."""

    body: nn.Module  # from (B, 3, H, W) to the last map (B, F, H', W') or, without a map, to features (B, F)
    unused: tuple[str, ...]  # prefixes of the names of weights that only the whole classifier has
    smallest: tuple[int, int]  # height and width, in pixels
    fixed: bool  # whether `smallest` is the only size


def build(name: str) -> Architecture:
    """Build the model that `backbone.name` names.

    Raises:
        WhaleidError: there is no such model, its family is not supported, or timm is not installed.
    """
    return _build_timm(name) if name.startswith(TIMM) else _build_torchvision(name)


def title(name: str) -> str:
    """Return the library and its name of the model: "torchvision's resnet18"."""
    return f"timm's {name.removeprefix(TIMM)}" if name.startswith(TIMM) else f"torchvision's {name}"


def count_parameters(name: str) -> int:
    """Return the number of parameters of the whole classifier without building it; 0 if it cannot be built.

    Raises:
        WhaleidError: there is no such model of timm, or timm is not installed.
    """
    if not name.startswith(TIMM):
        known = name in models.list_models(module=models)
        return int(models.get_model_weights(name).DEFAULT.meta["num_params"]) if known else 0
    timm, model, arguments = _parse_known(name)
    try:
        with torch.device("meta"):
            return sum(weight.numel() for weight in timm.create_model(model, **arguments).parameters())
    except Exception:  # depends on the arguments; `build` reports the reason
        return 0


def rename_weights(name: str, body: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return `weights` by the names that the model has for them today; files may have names of older versions."""
    if name.startswith(TIMM):
        # by timm's convention, the module of each family of models converts files
        convert = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
        try:
            converted: Mapping[str, Tensor] = convert(dict(weights), body) if convert else weights
        except Exception:  # weights of another model: loading them names what does not fit
            return weights
        return converted
    if name.startswith("densenet"):
        old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
        return {old.sub(r"\1\2.", key): weight for key, weight in weights.items()}
    return weights


def _build_torchvision(name: str) -> Architecture:
    known = models.list_models(module=models)
    if name not in known:
        hint = _suggest(name, known) or f"there are: {', '.join(known)}."
        raise WhaleidError(f"backbone.name: torchvision has no classification model {name!r}; {hint}")
    family = re.split(r"[\d_]", name)[0]
    if family not in LAST_MAP:
        raise WhaleidError(
            f"backbone.name: torchvision's {name} is not supported. Use one of timm, such as {TIMM_INSTEAD[family]}."
        )
    options = {"aux_logits": False, "init_weights": True} if family in ("googlenet", "inception") else {}
    layers = list(models.get_model(name, weights=None, **options).named_children())
    end = [layer for layer, _ in layers].index(LAST_MAP[family]) + 1
    body = nn.Sequential()
    for layer, module in layers[:end]:
        body.add_module(layer, module)
    unused = (*(f"{layer}." for layer, _ in layers[end:]), *AUXILIARY)
    return Architecture(body, unused, models.get_model_weights(name).DEFAULT.meta["min_size"], fixed=False)


def _suggest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), sorted(known), 3)
    return f"did you mean {' or '.join(close)}?" if close else ""


def _build_timm(name: str) -> Architecture:
    timm, model, arguments = _parse_known(name)
    config = timm.get_pretrained_cfg(model)
    size: Any = arguments.get("img_size", config.input_size[1:])
    own_size = (size, size) if isinstance(size, int) else (size[0], size[1])
    try:
        body, fixed = _create(timm, model, arguments, config.fixed_input_size)
        names = body.state_dict().keys()
        maps, smallest = _try_sizes(body, own_size, fixed)
        if isinstance(maps, Tensor) and maps.ndim == 4 and getattr(body, "output_fmt", "NCHW") == "NCHW":
            try:
                body.reset_classifier(0, "")
            except AssertionError:  # a few models cannot do without their pooling
                body.reset_classifier(0)
        else:  # transformers keep their own pooling
            body.reset_classifier(0)
    except Exception as error:  # depends on the arguments; some models have no classifier
        raise WhaleidError(f"backbone.name: timm cannot build {name} ({error}).") from None
    classifiers = [config.classifier] if isinstance(config.classifier, str) else config.classifier or []
    unused = (*(f"{each}." for each in classifiers), *(names - body.state_dict().keys()))
    return Architecture(body, unused, smallest, fixed=smallest == own_size)


def _parse_known(name: str) -> tuple[ModuleType, str, dict[str, object]]:
    """Return timm, its name of the model and the model's arguments, none of which can download weights."""
    timm = load_timm(name)
    model, arguments = parse(name)
    known = {*timm.list_models(), *timm.list_models(include_tags=True)}
    if model not in known:
        hint = _suggest(model, known) or "`python -c 'import timm; print(timm.list_models())'` lists all."
        raise WhaleidError(f"backbone.name: timm has no model {model!r}; {hint}")
    if reserved := sorted(arguments.keys() & {*inspect.signature(timm.create_model).parameters, "in_chans"}):
        raise WhaleidError(f"backbone.name: {name}: {', '.join(reserved)} cannot be set; leave it out.")
    return timm, model, arguments


def _create(timm: ModuleType, model: str, arguments: Mapping[str, object], fixed: bool) -> tuple[Any, bool]:
    """Build a whole classifier of timm; return it and whether it takes photos of one size alone."""
    if fixed:
        try:
            return timm.create_model(model, dynamic_img_size=True, dynamic_img_pad=True, **arguments), False
        except TypeError:  # only vision transformers have these options
            pass
    return timm.create_model(model, **arguments), fixed


@torch.no_grad()
def _try_sizes(body: Any, own_size: tuple[int, int], fixed: bool) -> tuple[object, tuple[int, int]]:
    """Return the output of `forward_features`, and the smallest size (height, width) that `body` takes."""
    training = body.training
    body.eval()
    try:
        for side in () if fixed else SIDES:
            try:
                # odd numbers: a model that takes these takes any size
                return body.forward_features(torch.zeros(1, 3, side + 1, 2 * side - 3)), (side, side)
            except (AssertionError, RuntimeError):
                continue
        return body.forward_features(torch.zeros(1, 3, *own_size)), own_size
    finally:
        body.train(training)


def load_timm(name: str) -> ModuleType:
    """Import timm for the model `name`.

    Raises:
        WhaleidError: it is not installed.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise WhaleidError(f"backbone.name: {name} needs timm: pip install 'whaleid[timm]'") from None
    return timm


def parse(name: str) -> tuple[str, dict[str, object]]:
    """Split `timm/NAME` or `timm/NAME {…}` into timm's name of the model and the arguments to build it with.

    Raises:
        WhaleidError: the arguments are no JSON object.
    """
    model, _, text = name.removeprefix(TIMM).partition(" ")
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise WhaleidError(
            f"backbone.name: {name}: the arguments after timm/{model} have to be a JSON object, such as "
            f'{{"img_size": 224}}.'
        )
    return model, arguments
