"""Models of timm without their classifier.

timm is optional and imported only for a name that begins with timm/.
"""

import difflib
import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from whaleid.core.errors import WhaleidError

TIMM = "timm/"
SIDES = (32, 128)
"""Pixels: the smallest sides that a model is tried with."""


@dataclass(frozen=True)
class Architecture:
    """A model without its classifier, with random weights drawn from torch's global generator."""

    body: nn.Module  # from (B, 3, H, W) to the last map (B, F, H', W') or, without a map, to features (B, F)
    unused: tuple[str, ...]  # prefixes of the names of weights that only the whole classifier has
    smallest: tuple[int, int]  # height and width, in pixels
    fixed: bool  # whether `smallest` is the only size


def build(name: str) -> Architecture:
    """Build the model `timm/NAME`.

    Raises:
        WhaleidError: there is no such model, it cannot be built, or timm is not installed.
    """
    timm, model, arguments = _parse_known(name)
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
    return Architecture(body, unused, smallest, fixed)


def count_parameters(name: str) -> int:
    """Return the number of parameters of the whole classifier without building it; 0 if it cannot be built.

    Raises:
        WhaleidError: there is no such model, or timm is not installed.
    """
    timm, model, arguments = _parse_known(name)
    try:
        with torch.device("meta"):
            return sum(weight.numel() for weight in timm.create_model(model, **arguments).parameters())
    except Exception:  # depends on the arguments; `build` reports the reason
        return 0


def rename_weights(body: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return `weights` by the names that the model has for them today."""
    # by timm's convention, the module of each family of models converts files
    convert = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    try:
        converted: Mapping[str, Tensor] = convert(dict(weights), body) if convert else weights
    except Exception:  # weights of another model: loading them names what does not fit
        return weights
    return converted


def _parse_known(name: str) -> tuple[ModuleType, str, dict[str, object]]:
    """Return timm, its name of the model and the model's arguments, none of which can download weights."""
    timm = load_timm(name)
    model, arguments = parse(name)
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
    arguments = None
    with suppress(ValueError):
        arguments = json.loads(text or "{}")
    if not isinstance(arguments, dict):
        raise WhaleidError(
            f"backbone.name: {name}: the arguments after timm/{model} have to be a JSON object, such as "
            f'{{"img_size": 224}}.'
        )
    return model, arguments


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a question that names the models in `known` closest to `name`, or an empty string."""
    close = difflib.get_close_matches(name.lower(), sorted(known), 3)
    return f"did you mean {' or '.join(close)}?" if close else ""
