"""Backbone: a classification model without its classifier, which maps photos to a feature map."""

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
TRACE_SIZE = 128
"""Height and width, in pixels, of the photo that layers are traced with."""
SMALL_MODEL = 50_000_000
"""A model with at most this number of parameters is always built: it takes about a second and 200 MB."""
EARLY_STRIDE = 4
"""Layers are early while the sides of their feature maps are at least the photo's sides divided by this number."""


def library(name: str) -> ModuleType:
    """Return the module that builds the model `name`: `timm_models` or `torchvision_models`."""
    return timm_models if name.startswith(TIMM) else torchvision_models


class Backbone(nn.Module):
    """A classification model without its classifier; maps (B, 3, H, W) float to a map of `num_features` channels.

    Photos smaller than the model's minimum size are enlarged to it. If a model accepts only one size, as many
    transformers do, photos are resized to that size.

    Args:
        name: the model's name in torchvision, or `timm/` and its name in timm.
        fine: set the last stride to 1, which doubles the height and width of the last feature map (Luo et al. 2019,
            "Bag of Tricks and a Strong Baseline for Deep Person Re-identification").

    Raises:
        WhaleidError: the model does not exist, or has no stride that `fine` could set to 1.
    """

    def __init__(self, name: str, fine: bool = False) -> None:
        super().__init__()
        self.name, self.fine = name, fine
        architecture = library(name).build(name)
        self.body = architecture.body
        self.ignored_prefixes, self.convert = architecture.ignored_prefixes, architecture.convert
        self.min_size, self.fixed_size = architecture.min_size, architecture.fixed_size
        trace, output = self._trace()
        if output.ndim not in (2, 4):
            raise WhaleidError(f"backbone.name: {name} returns neither a feature map nor features.")
        self.num_features = output.shape[1]
        self.has_map = output.ndim == 4
        if fine:
            height = output.shape[2] if self.has_map else None
            halving_layers = [
                layer for layer, input_height, output_height in trace if output_height == height == input_height // 2
            ]
            strided_layers = [
                layer for layer in halving_layers if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
            ]
            if not strided_layers:
                raise WhaleidError(
                    f"backbone.fine: {name} has no stride before its last feature map that could be removed. Set "
                    f"backbone.fine to false, or use another model, such as resnet18."
                )
            for layer in strided_layers:
                layer.stride = (1, 1) if isinstance(layer, nn.Conv2d) else 1

    def forward(self, photos: Tensor) -> Tensor:
        """Map `photos` (B, 3, H, W) to the last feature map (B, F, H', W') or, without one, to features (B, F)."""
        output: Tensor = self.body(self._resize(photos))
        return output

    def _resize(self, photos: Tensor) -> Tensor:
        height, width = photos.shape[-2:]
        size = self.min_size
        if not self.fixed_size:
            factor = max(1.0, size[0] / height, size[1] / width)
            size = math.ceil(height * factor), math.ceil(width * factor)
        if size == (height, width):
            return photos
        return F.interpolate(photos, size, mode="bilinear", antialias=True)

    def early_layers(self) -> list[nn.Module]:
        """Return the modules that complete before the first feature map below a quarter of the photo's sides.

        They cost most, since their maps are large, and they detect edges and spots, which transfer to any photo.

        Raises:
            WhaleidError: the model has no early layers. Transformers, for example, start with small maps.
        """
        height = self.min_size[0] if self.fixed_size else TRACE_SIZE
        early = takewhile(lambda step: step[2] * EARLY_STRIDE >= height, self._trace()[0])
        if not self.has_map or not (layers := [layer for layer, *_ in early]):
            raise WhaleidError(
                f"layers: upper freezes the first layers, which work on large feature maps, but {self.name} has no "
                f"such layers. Set it to all or last, or use another model (backbone.name), such as resnet18."
            )
        return layers

    @torch.no_grad()
    def _trace(self) -> tuple[list[tuple[nn.Module, int, int]], Tensor]:
        """Run the body once; return (module, input height, output height) in order of completion, and the output."""
        trace: list[tuple[nn.Module, int, int]] = []

        def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            maps = [*inputs[:1], output]
            if all(isinstance(value, Tensor) and value.ndim == 4 for value in maps):
                trace.append((module, maps[0].shape[2], output.shape[2]))

        hooks = [module.register_forward_hook(record) for module in self.body.modules()]
        training = self.training
        try:
            device = next(self.body.parameters()).device
            return trace, self.eval()(torch.zeros(1, 3, TRACE_SIZE, TRACE_SIZE, device=device))
        finally:
            self.train(training)
            for hook in hooks:
                hook.remove()


def rebuild(build: Callable[[], M], backbone: str, weights: Mapping[str, Tensor], name: str) -> M:
    """Build a network around the model `backbone` and load `weights`, the content of the file `name`.

    A model that is much larger than the file is refused before it is built, since it could exhaust memory.

    Raises:
        WhaleidError: the model does not exist, or is much larger than the file.
        InputProblems: weights are missing, unknown or of another shape.
    """
    try:
        # the file lacks the model's classifier, which has less than half of all parameters
        limit = max(SMALL_MODEL, 2 * sum(weight.numel() for weight in weights.values()))
        if library(backbone).count_parameters(backbone) > limit:
            raise WhaleidError(f"it has fewer weights than {backbone}. {REMEDY}")
        network = build()
    except WhaleidError as error:
        raise WhaleidError(f"{name}: {error}") from None
    load_weights(network, weights, f"{name} does not fit its backbone, {backbone}", REMEDY)
    return network
