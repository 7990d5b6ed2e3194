"""A classification model without its classifier: from photos to a map of features."""

import math
from collections.abc import Callable, Mapping
from itertools import takewhile
from types import ModuleType
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whaleid.core.errors import WhaleidError
from whaleid.model import timm_models, torchvision_models
from whaleid.model.architectures import TIMM
from whaleid.model.tensors import REMEDY, load_weights

M = TypeVar("M", bound=nn.Module)
TRACED = 128
"""Pixels: the side of the photo that layers are traced with."""
MODEST = 50_000_000
"""Parameters that take a second and 200 MB to build."""
EARLY = 4
"""Layers are early while their maps have a quarter of the photo's sides or more."""


def library(name: str) -> ModuleType:
    """Return the module that builds the model `name`: `timm_models` or `torchvision_models`."""
    return timm_models if name.startswith(TIMM) else torchvision_models


class Backbone(nn.Module):
    """A classification model that maps (B, 3, H, W) float to a map of `features` channels.

    Photos are resized to the one size that a model takes, as many transformers do, or enlarged to its smallest size.

    Args:
        name: as torchvision calls the model, or `timm/` and as timm calls it.
        fine: leave out the last halving, so that the last map has twice as many places along each side (Luo et al.
            2019, "Bag of Tricks and a Strong Baseline for Deep Person Re-identification").

    Raises:
        WhaleidError: there is no such model, or its last map has no stride to leave out.
    """

    def __init__(self, name: str, fine: bool = False) -> None:
        super().__init__()
        self.name, self.fine = name, fine
        architecture = library(name).build(name)
        self.body, self.unused, self.rename = architecture.body, architecture.unused, architecture.rename
        self.smallest, self.fixed = architecture.smallest, architecture.fixed
        trace, output = self._trace()
        if output.ndim not in (2, 4):
            raise WhaleidError(f"backbone.name: {name} returns neither a map nor features.")
        self.features = output.shape[1]
        self.has_map = output.ndim == 4
        if fine:
            height = output.shape[2] if self.has_map else None
            halving = [layer for layer, before, after in trace if after == height == before // 2]
            strided = [layer for layer in halving if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)]
            if not strided:
                raise WhaleidError(
                    f"backbone.fine: the last map of {name} has no stride that could be left out. Set it to false, or "
                    f"take another model, such as resnet18."
                )
            for layer in strided:
                layer.stride = (1, 1) if isinstance(layer, nn.Conv2d) else 1

    def forward(self, photos: Tensor) -> Tensor:
        """Return the last map (B, F, H', W') of `photos` (B, 3, H, W) or, of a model without a map, features (B, F)."""
        output: Tensor = self.body(self._resize(photos))
        return output

    def _resize(self, photos: Tensor) -> Tensor:
        height, width = photos.shape[-2:]
        size = self.smallest
        if not self.fixed:
            factor = max(1.0, size[0] / height, size[1] / width)
            size = math.ceil(height * factor), math.ceil(width * factor)
        if size == (height, width):
            return photos
        return F.interpolate(photos, size, mode="bilinear", antialias=True)

    def early(self) -> list[nn.Module]:
        """Return the modules that are complete before the first map below a quarter of the photo's sides.

        They cost most, since their maps are large, and detect edges and spots, which are the same on any photo.

        Raises:
            WhaleidError: there are none, as in a transformer, which begins with small maps.
        """
        height = self.smallest[0] if self.fixed else TRACED
        early = takewhile(lambda step: step[2] * EARLY >= height, self._trace()[0])
        if not self.has_map or not (layers := [layer for layer, *_ in early]):
            raise WhaleidError(
                f"layers: upper keeps the first layers on large maps as they are, and {self.name} has none. Set it to "
                f"all or last, or take another model (backbone.name), such as resnet18."
            )
        return layers

    @torch.no_grad()
    def _trace(self) -> tuple[list[tuple[nn.Module, int, int]], Tensor]:
        """Return each module with the heights of its input and output map, as they complete, and the last output."""
        trace: list[tuple[nn.Module, int, int]] = []

        def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            maps = [*inputs[:1], output]
            if all(isinstance(each, Tensor) and each.ndim == 4 for each in maps):
                trace.append((module, maps[0].shape[2], output.shape[2]))

        hooks = [module.register_forward_hook(record) for module in self.body.modules()]
        training = self.training
        try:
            device = next(self.body.parameters()).device
            return trace, self.eval()(torch.zeros(1, 3, TRACED, TRACED, device=device))
        finally:
            self.train(training)
            for hook in hooks:
                hook.remove()


def rebuild(build: Callable[[], M], backbone: str, weights: Mapping[str, Tensor], name: str) -> M:
    """Build a network around the model `backbone` and set its `weights`; `name` names their file in errors.

    Raises:
        WhaleidError: there is no such model, or it is much larger than the file, in which case it is not built.
        InputProblems: weights are missing, of another shape, or unknown.
    """
    try:
        # the classifier, which the network lacks, has less than half of all parameters
        limit = max(MODEST, 2 * sum(weight.numel() for weight in weights.values()))
        if library(backbone).count_parameters(backbone) > limit:
            raise WhaleidError(f"it has fewer weights than {backbone}. {REMEDY}")
        network = build()
    except WhaleidError as error:
        raise WhaleidError(f"{name}: {error}") from None
    load_weights(network, weights, f"{name} does not fit its backbone, {backbone}", REMEDY)
    return network
