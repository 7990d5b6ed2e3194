"""Where backbones come from: classification models of torchvision and, by names that begin with timm/, of timm.

timm is optional, and loaded for such a name alone. Nothing here looks for weights, or beyond this machine.
"""

import difflib
import inspect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from whaleid.core.errors import WhaleidError

TIMM = "timm/"
RETURNED_EARLY = ("aux1.", "aux2.", "AuxLogits.")
"""Side outputs of GoogLeNet and Inception, which helped to train them on ImageNet and are left out here."""
SIDES = (16, 32, 64, 128)
"""Pixels: the smallest sizes that a model of timm, which tells none, is tried with."""


@dataclass(frozen=True)
class Model:
    """A classification model without its last layer, with random weights from torch's global generator."""

    body: nn.Module
    unused: tuple[str, ...]  # how the names of weights begin that the whole classifier has besides
    smallest: tuple[
        int, int
    ]  # height and width: photos have to be as large at least or, where it takes one size, just so
    one_size: bool
    channels_first: bool = True  # whether its maps are (B, F, H, W)


def build(name: str) -> Model:
    """Build the model that `backbone.name` names.

    Raises:
        WhaleidError: there is no such model, or timm is not installed.
    """
    return _of_timm(name) if name.startswith(TIMM) else _of_torchvision(name)


def title(name: str) -> str:
    """Return whose model it is, and its name there: "torchvision's resnet18"."""
    return f"timm's {name.removeprefix(TIMM)}" if name.startswith(TIMM) else f"torchvision's {name}"


def translated(name: str, body: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return `weights` by the names that the model has for them today; files may carry older or other ones."""
    if name.startswith(TIMM):
        # by timm's convention, the module of each family of models knows its files
        translate = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
        try:
            found: Mapping[str, Tensor] = translate(dict(weights), body) if translate else weights
        except Exception:  # weights of another model: what is amiss is told of them as they are
            return weights
        return found
    if name.startswith("densenet"):
        old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
        return {old.sub(r"\1\2.", each): weight for each, weight in weights.items()}
    return weights


def _of_torchvision(name: str) -> Model:
    known = models.list_models(module=models)
    if name not in known:
        hint = _near(name, known) or f"there are: {', '.join(known)}."
        raise WhaleidError(f"backbone.name: torchvision has no classification model {name!r}; {hint}")
    smallest: tuple[int, int] = models.get_model_weights(name).DEFAULT.meta["min_size"]
    options: dict[str, object] = {}
    if name.startswith("vit_"):
        options = {"image_size": smallest[0]}
    elif name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    body: nn.Module = models.get_model(name, weights=None, **options)
    one_size = isinstance(body, models.VisionTransformer | models.MaxVit)
    return Model(body, (f"{_cut(body)}.", *RETURNED_EARLY), smallest, one_size)


def _near(name: str, known: Sequence[str]) -> str:
    near: list[str] = difflib.get_close_matches(name.lower(), known, 3)
    return f"did you mean {' or '.join(near)}?" if near else ""


def _cut(model: nn.Module) -> str:
    """Take out the last layer in place; return its name."""
    named = list(model.named_modules())
    place = max(at for at, (_, layer) in enumerate(named) if isinstance(layer, nn.Linear | nn.Conv2d))
    name: str = named[place][0]
    model.set_submodule(name, nn.Identity())
    before, dropout = named[place - 1]
    if isinstance(dropout, nn.Dropout):
        # a batch norm follows now, whose statistics dropout would falsify: it spreads the features in training, but
        # not in use (Li et al. 2019, "Understanding the Disharmony between Dropout and Batch Normalization by
        # Variance Shift")
        model.set_submodule(before, nn.Identity())
    return name


def size(name: str) -> int:
    """Return how many weights the whole classifier has, without building it; 0 where that cannot be told.

    Raises:
        WhaleidError: there is no such model of timm's, or timm is not installed.
    """
    if not name.startswith(TIMM):
        known = name in models.list_models(module=models)
        return int(models.get_model_weights(name).DEFAULT.meta["num_params"]) if known else 0
    timm, named, arguments = _checked(name)
    try:
        with torch.device("meta"):
            return sum(weight.numel() for weight in timm.create_model(named, **arguments).parameters())
    except Exception:  # by its arguments, a model may raise anything: what is amiss is told when it is built
        return 0


def _checked(name: str) -> tuple[ModuleType, str, dict[str, object]]:
    """Return timm, its name of the model and the arguments that it is built with, which reach beyond nothing."""
    timm = load_timm(name)
    named, arguments = parse(name)
    known = {*timm.list_models(), *timm.list_models(include_tags=True)}
    if named not in known:
        hint = _near(named, sorted(known)) or "`python -c 'import timm; print(timm.list_models())'` names all."
        raise WhaleidError(f"backbone.name: timm has no model {named!r}; {hint}")
    if taken := sorted(arguments.keys() & {*inspect.signature(timm.create_model).parameters, "in_chans"}):
        raise WhaleidError(f"backbone.name: {name}: {', '.join(taken)} cannot be set; leave it out.")
    return timm, named, arguments


def _of_timm(name: str) -> Model:
    timm, named, arguments = _checked(name)
    trained = timm.get_pretrained_cfg(named)
    try:
        body, one_size = _classifier(timm, named, arguments, trained.fixed_input_size)
        whole = body.state_dict().keys()
        body.reset_classifier(0)  # type: ignore[operator]
    except Exception as error:  # by its arguments, a model may raise anything; some have no classifier
        raise WhaleidError(f"backbone.name: timm cannot build {name} ({error}).") from None
    classifiers = [trained.classifier] if isinstance(trained.classifier, str) else trained.classifier or []
    unused = (*(f"{each}." for each in classifiers), *(whole - body.state_dict().keys()))
    smallest = None if one_size else _smallest(body)
    if not smallest:
        size: Any = arguments.get("img_size", trained.input_size[1:])
        smallest, one_size = (size, size) if isinstance(size, int) else (size[0], size[1]), True
    return Model(body, unused, smallest, one_size, getattr(body, "output_fmt", "NCHW") == "NCHW")


def _classifier(timm: ModuleType, named: str, arguments: Mapping[str, object], fixed: bool) -> tuple[nn.Module, bool]:
    """Build a whole classifier of timm, and tell whether it takes photos of one size alone."""
    if fixed:
        try:
            return timm.create_model(named, dynamic_img_size=True, dynamic_img_pad=True, **arguments), False
        except TypeError:  # only vision transformers and their like have these
            pass
    return timm.create_model(named, **arguments), fixed


@torch.no_grad()
def _smallest(body: nn.Module) -> tuple[int, int] | None:
    """Return the smallest size (height, width) that `body` takes, if it takes any size from there on."""
    body.eval()
    for side in SIDES:
        try:
            body(torch.zeros(1, 3, side + 1, 2 * side - 3))  # odd, so that any size will do
        except (AssertionError, RuntimeError):
            continue
        return side, side
    return None


def load_timm(name: str) -> ModuleType:
    """Return timm, which the model `name` is of.

    Raises:
        WhaleidError: it is not installed.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise WhaleidError(f"backbone.name: {name} needs timm: pip install 'whaleid[timm]'") from None
    return timm


def parse(name: str) -> tuple[str, dict[str, object]]:
    """Return timm's own name of the model `timm/NAME` or `timm/NAME {…}`, and the arguments that it is built with.

    Raises:
        WhaleidError: what follows the name is no JSON object.
    """
    named, _, written = name.removeprefix(TIMM).partition(" ")
    try:
        arguments = json.loads(written or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise WhaleidError(
            f"backbone.name: {name}: what follows timm/{named} has to be a JSON object of its arguments, such as "
            f'{{"img_size": 224}}.'
        )
    return named, arguments
