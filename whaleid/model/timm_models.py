"""timm models without their classifier, and their pretrained weights.

timm is an optional dependency. It is imported only for names with the prefix `timm/`.
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
from whaleid.model.architectures import TIMM, Architecture, StateDict, suggest

SOURCES = ("hf-hub:", "local-dir:")
"""timm's prefixes for models on the Hugging Face hub and in a folder with the same layout."""
SIDES = (32, 128)
"""Candidates for the minimum side of a photo, in pixels, in the order in which they are tested."""


def build(name: str) -> Architecture:
    """Build the model `timm/NAME`.

    Raises:
        WhaleidError: the model does not exist or cannot be built, or timm is not installed.
    """
    timm, model, arguments = _parse(name)
    config = timm.get_pretrained_cfg(model)
    size: Any = arguments.get("img_size", config.input_size[1:])
    default_size = (size, size) if isinstance(size, int) else (size[0], size[1])
    try:
        body, fixed = _create(timm, model, arguments, config.fixed_input_size)
        names = body.state_dict().keys()
        maps, min_size, fixed = _try_sizes(body, default_size, fixed)
        if isinstance(maps, Tensor) and maps.ndim == 4 and getattr(body, "output_fmt", "NCHW") == "NCHW":
            try:
                body.reset_classifier(0, "")
            except AssertionError:  # a few models require their pooling
                body.reset_classifier(0)
        else:  # transformers keep their own pooling
            body.reset_classifier(0)
        body.train()
    except Exception as error:  # the exception type depends on the arguments; some models have no classifier
        raise WhaleidError(f"backbone.name: timm cannot build {name} ({error}).") from None
    classifiers = [config.classifier] if isinstance(config.classifier, str) else config.classifier or []
    ignored_prefixes = (*(f"{layer}." for layer in classifiers), *(names - body.state_dict().keys()))
    return Architecture(body, ignored_prefixes, min_size, fixed, partial(_convert, body))


def count_parameters(name: str) -> int:
    """Count the parameters of the full classification model without allocating them; 0 if it cannot be built.

    Raises:
        WhaleidError: the model does not exist, or timm is not installed.
    """
    timm, model, arguments = _parse(name)
    try:
        with torch.device("meta"):
            return sum(weight.numel() for weight in timm.create_model(model, **arguments).parameters())
    except Exception:  # the exception type depends on the arguments; `build` reports the reason
        return 0


def _convert(body: nn.Module, weights: StateDict) -> StateDict:
    # by timm's convention, this function of a model family's module converts state dicts of older versions
    convert = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    try:
        converted: StateDict = convert(dict(weights), body) if convert else weights
    except Exception:  # weights of another model: loading them reports the differences
        return weights
    return converted


def resolve(name: str) -> str:
    """Replace the name of a model on the hub or in a folder with one that `build` accepts; return others unchanged.

    Raises:
        WhaleidError: the model's config cannot be fetched, or timm cannot use it.
    """
    if not (source := _source(name)):
        return name
    timm = _load_timm(name)
    try:
        resolved = timm.models.resolve_model_input_args(source)
        model, config = resolved["model_name"], resolved["pretrained_cfg"]
        arguments = {"img_size": list(config["input_size"][1:])} if config["fixed_input_size"] else {}
        arguments |= resolved.get("pretrained_model_args", {})
        size = list(timm.get_pretrained_cfg(model).input_size[1:])
    except Exception as error:  # the hub client and timm raise many types; any key of the config may be missing
        raise _failure("backbone.name", source, error) from None
    defaults = [("in_chans", 3), ("img_size", size), ("num_classes", arguments.get("num_classes"))]
    non_default = {key: value for key, value in arguments.items() if (key, value) not in defaults}
    return f"{TIMM}{model} {json.dumps(non_default, sort_keys=True)}" if non_default else TIMM + model


def _source(name: str) -> str:
    """Return the hub or folder reference in `name`, or an empty string if it has none."""
    source = name.removeprefix(TIMM)
    return source if name.startswith(TIMM) and source.startswith(SOURCES) else ""


def _failure(key: str, source: str, error: Exception) -> WhaleidError:
    reason = first_line(error).rstrip(".")
    if not isinstance(error, OSError):
        return WhaleidError(
            f"{key}: timm cannot use {source} ({reason}). Use another model (backbone.name), or set backbone.weights "
            f"to none or the path of a state dict."
        )
    return WhaleidError(
        f"{key}: timm could not fetch {source} ({reason}). Download the model's config.json and model.safetensors "
        f"in another way, put both into a folder, and set backbone.name to timm/local-dir:FOLDER."
    )


def download(name: str) -> tuple[StateDict, str]:
    """Return the pretrained state dict of the full model, from the hub's cache or the internet, and its description.

    Raises:
        WhaleidError: the model has no pretrained weights, they cannot be fetched, or they do not fit.
    """
    source = _source(name)
    timm, model, arguments = (_load_timm(name), source, {}) if source else _parse(name)
    try:
        # the full model: timm ignores missing weights if the number of classes differs from the file's
        weights: StateDict = timm.create_model(model, pretrained=True, **arguments).state_dict()
    except Exception as error:  # the hub client and timm raise many types
        raise _failure("backbone.weights: DEFAULT", model, error) from None
    return weights, f"timm's pretrained weights ({name.removeprefix(TIMM)})"


def _parse(name: str) -> tuple[ModuleType, str, dict[str, object]]:
    """Parse `timm/NAME {…}`; return the module timm, the model's name and its arguments.

    Arguments that could load weights are refused, since names also come from checkpoints of unknown origin.
    """
    timm = _load_timm(name)
    model, _, text = name.removeprefix(TIMM).partition(" ")
    arguments = None
    with suppress(ValueError):
        arguments = json.loads(text or "{}")
    if not isinstance(arguments, dict):
        raise WhaleidError(
            f"backbone.name: {name}: the arguments after timm/{model} must be a JSON object, such as "
            f'{{"img_size": 224}}.'
        )
    names = {*timm.list_models(), *timm.list_models(include_tags=True)}
    if model not in names:
        hint = suggest(model, names) or "`python -c 'import timm; print(timm.list_models())'` lists all models."
        raise WhaleidError(f"backbone.name: timm has no model {model!r}; {hint}")
    if reserved := sorted(arguments.keys() & {*inspect.signature(timm.create_model).parameters, "in_chans"}):
        raise WhaleidError(f"backbone.name: {name}: {', '.join(reserved)} cannot be set. Remove it.")
    return timm, model, arguments


def _create(timm: ModuleType, model: str, arguments: Mapping[str, object], fixed: bool) -> tuple[Any, bool]:
    """Build the full classification model; return it and whether it accepts only one input size."""
    if fixed:
        with suppress(TypeError):  # only vision transformers accept these options
            return timm.create_model(model, dynamic_img_size=True, dynamic_img_pad=True, **arguments), False
    return timm.create_model(model, **arguments), fixed


@torch.no_grad()
def _try_sizes(body: Any, default_size: tuple[int, int], fixed: bool) -> tuple[object, tuple[int, int], bool]:
    """Return the output of `forward_features`, the minimum size (height, width) and whether it is the only size."""
    body.eval()
    for side in () if fixed else SIDES:
        with suppress(AssertionError, RuntimeError):
            # odd numbers: a model that accepts these accepts any size
            return body.forward_features(torch.zeros(1, 3, side + 1, 2 * side - 3)), (side, side), False
    return body.forward_features(torch.zeros(1, 3, *default_size)), default_size, True


def _load_timm(name: str) -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError:
        raise WhaleidError(f"backbone.name: {name} needs timm: pip install 'whaleid[timm]'") from None
    return timm
