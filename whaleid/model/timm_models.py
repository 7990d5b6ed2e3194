"""Models of timm without their classifier, and their pretrained weights.

timm is optional and imported only for a name that begins with timm/.
"""

import inspect
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from whaleid.core.errors import WhaleidError, first_line
from whaleid.model.architectures import TIMM, Architecture, Weights, suggest

SOURCES = ("hf-hub:", "local-dir:")
"""Prefixes, in timm, of models of the Hugging Face hub and of models in a folder laid out as there."""
SIDES = (32, 128)
"""Pixels: the smallest sides that a model is tried with."""


def build(name: str) -> Architecture:
    """Build the model `timm/NAME`.

    Raises:
        WhaleidError: there is no such model, it cannot be built, or timm is not installed.
    """
    timm, model, arguments = _parse(name)
    config = timm.get_pretrained_cfg(model)
    size: Any = arguments.get("img_size", config.input_size[1:])
    own_size = (size, size) if isinstance(size, int) else (size[0], size[1])
    try:
        body, fixed = _create(timm, model, arguments, config.fixed_input_size)
        names = body.state_dict().keys()
        maps, smallest, fixed = _try_sizes(body, own_size, fixed)
        if isinstance(maps, Tensor) and maps.ndim == 4 and getattr(body, "output_fmt", "NCHW") == "NCHW":
            try:
                body.reset_classifier(0, "")
            except AssertionError:  # a few models cannot do without their pooling
                body.reset_classifier(0)
        else:  # transformers keep their own pooling
            body.reset_classifier(0)
        body.train()
    except Exception as error:  # depends on the arguments; some models have no classifier
        raise WhaleidError(f"backbone.name: timm cannot build {name} ({error}).") from None
    classifiers = [config.classifier] if isinstance(config.classifier, str) else config.classifier or []
    unused = (*(f"{each}." for each in classifiers), *(names - body.state_dict().keys()))
    return Architecture(body, unused, smallest, fixed, partial(_rename, body))


def count_parameters(name: str) -> int:
    """Return the number of parameters of the whole classifier without building it; 0 if it cannot be built.

    Raises:
        WhaleidError: there is no such model, or timm is not installed.
    """
    timm, model, arguments = _parse(name)
    try:
        with torch.device("meta"):
            return sum(weight.numel() for weight in timm.create_model(model, **arguments).parameters())
    except Exception:  # depends on the arguments; `build` reports the reason
        return 0


def _rename(body: nn.Module, weights: Weights) -> Weights:
    # by timm's convention, the module of each family of models converts files
    convert = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    try:
        converted: Weights = convert(dict(weights), body) if convert else weights
    except Exception:  # weights of another model: loading them names what does not fit
        return weights
    return converted


def resolve(name: str) -> str:
    """Return the name that `build` knows of a model that `name` takes from the hub or a folder.

    Raises:
        WhaleidError: the model's description cannot be fetched, or timm cannot use it.
    """
    if not (source := _source(name)):
        return name
    timm = _load_timm(name)
    try:
        described = timm.models.resolve_model_input_args(source)
        model, config = described["model_name"], described["pretrained_cfg"]
        arguments = {"img_size": list(config["input_size"][1:])} if config["fixed_input_size"] else {}
        arguments |= described.get("pretrained_model_args", {})
        size = list(timm.get_pretrained_cfg(model).input_size[1:])
    except Exception as error:  # the hub, its client and timm raise nearly anything; the description may lack anything
        raise _failure("backbone.name", source, error) from None
    defaults = [("in_chans", 3), ("img_size", size), ("num_classes", arguments.get("num_classes"))]
    others = {key: value for key, value in arguments.items() if (key, value) not in defaults}
    return f"{TIMM}{model} {json.dumps(others, sort_keys=True)}" if others else TIMM + model


def _source(name: str) -> str:
    """Return the model of the hub or the folder that `name` names, or an empty string."""
    source = name.removeprefix(TIMM)
    return source if name.startswith(TIMM) and source.startswith(SOURCES) else ""


def _failure(key: str, source: str, error: Exception) -> WhaleidError:
    reason = first_line(error).rstrip(".")
    if not isinstance(error, OSError):
        return WhaleidError(
            f"{key}: timm cannot use {source} ({reason}). Take another model (backbone.name), or set backbone.weights "
            f"to none or the path of a state dict."
        )
    return WhaleidError(
        f"{key}: timm could not fetch {source} ({reason}). Fetch the model's config.json and model.safetensors by "
        f"other means, put both into a folder, and set backbone.name to timm/local-dir:FOLDER."
    )


def download(name: str) -> tuple[Weights, str]:
    """Return the pretrained weights of the whole model, from the hub's cache or from the internet, and their title.

    Raises:
        WhaleidError: there are none, they cannot be fetched, or they do not fit.
    """
    source = _source(name)
    timm, model, arguments = (_load_timm(name), source, {}) if source else _parse(name)
    try:
        # the whole classifier: timm ignores missing weights if the number of classes differs from the file's
        weights: Weights = timm.create_model(model, pretrained=True, **arguments).state_dict()
    except Exception as error:  # as above
        raise _failure("backbone.weights: DEFAULT", model, error) from None
    return weights, f"timm's pretrained weights ({name.removeprefix(TIMM)})"


def _parse(name: str) -> tuple[ModuleType, str, dict[str, object]]:
    """Return timm, its name of the model and the model's arguments of `timm/NAME {…}`: none can download weights."""
    timm = _load_timm(name)
    model, _, text = name.removeprefix(TIMM).partition(" ")
    arguments = None
    with suppress(ValueError):
        arguments = json.loads(text or "{}")
    if not isinstance(arguments, dict):
        raise WhaleidError(
            f"backbone.name: {name}: the arguments after timm/{model} have to be a JSON object, such as "
            f'{{"img_size": 224}}.'
        )
    known = {*timm.list_models(), *timm.list_models(include_tags=True)}
    if model not in known:
        hint = suggest(model, known) or "`python -c 'import timm; print(timm.list_models())'` lists all."
        raise WhaleidError(f"backbone.name: timm has no model {model!r}; {hint}")
    if reserved := sorted(arguments.keys() & {*inspect.signature(timm.create_model).parameters, "in_chans"}):
        raise WhaleidError(f"backbone.name: {name}: {', '.join(reserved)} cannot be set; leave it out.")
    return timm, model, arguments


def _create(timm: ModuleType, model: str, arguments: Mapping[str, object], fixed: bool) -> tuple[Any, bool]:
    """Build a whole classifier of timm; return it and whether it takes photos of one size alone."""
    if fixed:
        with suppress(TypeError):  # only vision transformers have these options
            return timm.create_model(model, dynamic_img_size=True, dynamic_img_pad=True, **arguments), False
    return timm.create_model(model, **arguments), fixed


@torch.no_grad()
def _try_sizes(body: Any, own_size: tuple[int, int], fixed: bool) -> tuple[object, tuple[int, int], bool]:
    """Return the output of `forward_features`, the smallest size (height, width), and whether it is the only one."""
    body.eval()
    for side in () if fixed else SIDES:
        with suppress(AssertionError, RuntimeError):
            # odd numbers: a model that takes these takes any size
            return body.forward_features(torch.zeros(1, 3, side + 1, 2 * side - 3)), (side, side), False
    return body.forward_features(torch.zeros(1, 3, *own_size)), own_size, True


def _load_timm(name: str) -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError:
        raise WhaleidError(f"backbone.name: {name} needs timm: pip install 'whaleid[timm]'") from None
    return timm
