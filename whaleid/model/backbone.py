"""A classification model without its last layer: from photos to features."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.model import zoo

PROBE = 128
"""Pixels: a square this large leaves every model a map of more than one place."""
UPPER = 4
"""Layers are early while their maps have a quarter of the photo's sides or more."""


class Backbone(nn.Module):
    """A classification model that maps (B, 3, H, W) float to (B, `features`) float.

    Photos of a size that the model does not take are resized: to its one size, as many transformers have,
    else, where they are smaller than the model's smallest size, by the least factor that reaches it.

    Args:
        name: as torchvision calls the model, or `timm/` and as timm calls it.
        fine: leave out the last halving, so that the features are pooled from a map with twice as many places along
            each side (Luo et al. 2019, "Bag of Tricks and a Strong Baseline for Deep Person Re-identification").

    Raises:
        WhaleidError: there is no such classification model, or its last map cannot be made finer.
    """

    def __init__(self, name: str, fine: bool = False) -> None:
        super().__init__()
        self.name, self.fine = name, fine
        model = zoo.build(name)
        self.body, self.unused = model.body, model.unused
        self.smallest, self.one_size = model.smallest, model.one_size
        features, calls = _probe(self)
        if not isinstance(features, Tensor) or features.ndim != 2:
            raise WhaleidError(f"backbone.name: {zoo.title(name)} makes no features of a photo, but something else.")
        self.features = features.shape[1]
        if not model.channels_first:
            calls = []
        self._map = _last_map(features, calls)
        self._early = _early_layers(self.body, calls)
        self._norms = _norms_after_convolutions(self.body, calls)
        if fine:
            _leave_out_last_stride(self, calls)

    @property
    def has_map(self) -> bool:
        """Whether the features are pooled from a map, whose channels they are."""
        return self._map is not None

    def map(self, photos: Tensor) -> Tensor:
        """Return the map (B, F, H', W') that the features of `photos` (B, 3, H, W) are pooled from; see `has_map`."""
        assert self._map is not None
        seen: list[Tensor] = []
        handle = self.body.get_submodule(self._map).register_forward_hook(lambda *call: seen.append(call[-1]))
        try:
            self(photos)
        finally:
            handle.remove()
        return seen[0]

    def early(self) -> list[nn.Module]:
        """Return the layers that come before the first map below a quarter of the photo's sides.

        They cost most, for their maps are large, and see edges and spots, which are the same on flukes as anywhere.

        Raises:
            WhaleidError: there are none, as in a transformer, which begins with small maps.
        """
        if not self._early:
            raise WhaleidError(
                f"layers: upper keeps the first layers on large maps as they are, and {self.name} has none. Set it to "
                f"all or last, or take another model (backbone.name), such as resnet18."
            )
        return [self.body.get_submodule(name) for name in self._early]

    def norms(self, of: list[nn.Module]) -> list[tuple[str, str]]:
        """Name each convolution among the layers `of`, and within them, whose batch norm follows it at once."""
        those = {layer for each in of for layer in each.modules()}
        return [pair for pair in self._norms if those.issuperset(map(self.body.get_submodule, pair))]

    def forward(self, photos: Tensor) -> Tensor:
        """Return the features (B, F) of `photos` (B, 3, H, W), pooled as the model itself does."""
        height, width = photos.shape[-2:]
        size = self.smallest
        if not self.one_size:
            grow = max(1.0, size[0] / height, size[1] / width)
            size = math.ceil(height * grow), math.ceil(width * grow)
        if size != (height, width):
            photos = F.interpolate(photos, size, mode="bilinear", antialias=True)
        features: Tensor = self.body(photos)
        return features


@dataclass(frozen=True)
class _Call:
    """A layer that made a map of a map, as seen when a photo of `PROBE` x `PROBE` went through the model."""

    name: str
    taken: Tensor  # (1, F, H, W)
    made: Tensor  # (1, F', H', W')


def _probe(backbone: Backbone) -> tuple[Tensor, list[_Call]]:
    """Return the features of a photo and what made maps on the way, in that order."""
    calls: list[_Call] = []

    def look(name: str, inputs: tuple[object, ...], output: object) -> None:
        taken = inputs[0] if inputs else None
        if all(isinstance(each, Tensor) and each.ndim == 4 for each in (taken, output)):
            calls.append(_Call(name, taken, output))  # type: ignore[arg-type]

    handles = [
        layer.register_forward_hook(lambda _, inputs, output, name=name: look(name, inputs, output))
        for name, layer in backbone.body.named_modules()
        if name
    ]
    with torch.no_grad():
        features = backbone.eval()(torch.linspace(-2, 2, 3 * PROBE * PROBE).reshape(1, 3, PROBE, PROBE))
    backbone.train()
    for handle in handles:
        handle.remove()
    return features, calls


def _last_map(features: Tensor, calls: list[_Call]) -> str | None:
    """Name the layer whose output is the map that the features are the mean of, if the model has one."""
    # some models clip the map before they take its mean
    pooled = {call.name: (call.made.mean(dim=(2, 3)), call.made.relu().mean(dim=(2, 3))) for call in calls}
    large = {call.name for call in calls if call.made.shape[2:].numel() > 1}
    fit = [
        name
        for name, means in pooled.items()
        if any(mean.shape == features.shape and torch.allclose(mean, features, atol=1e-6) for mean in means)
        and name in large
    ]
    return fit[-1] if fit else None


def _early_layers(body: nn.Module, calls: list[_Call]) -> list[str]:
    """Name the layers, without those that hold others, that come before the first smaller map; see `early`."""
    innermost = _innermost(body, calls)
    height = innermost[0].taken.shape[2] if innermost else 0
    return [call.name for call in takewhile(lambda call: call.made.shape[2] * UPPER >= height, innermost)]


def _norms_after_convolutions(body: nn.Module, calls: list[_Call]) -> list[tuple[str, str]]:
    """Name each convolution and batch norm of which the second takes just what the first made."""
    # no subclasses: timm's do more, such as an activation
    return [
        (before.name, after.name)
        for before, after in pairwise(_innermost(body, calls))
        if after.taken is before.made
        and type(body.get_submodule(before.name)) is nn.Conv2d
        and type(body.get_submodule(after.name)) is nn.BatchNorm2d
    ]


def _innermost(body: nn.Module, calls: list[_Call]) -> list[_Call]:
    """Return the calls of layers that hold no others; of timm's norms, too, which may hold their activation."""
    norms = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    layers = [(body.get_submodule(call.name), call) for call in calls]
    return [call for layer, call in layers if isinstance(layer, norms) or not any(layer.children())]


def _leave_out_last_stride(backbone: Backbone, calls: list[_Call]) -> None:
    """Let the layers that make the last halving look at every place; shortcuts beside them, too."""
    height = next((call.made.shape[2] for call in calls if call.name == backbone._map), 0)
    strided = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    found = [
        (layer, call)
        for call in calls
        if isinstance(layer := backbone.body.get_submodule(call.name), strided)
        and call.made.shape[2] == height
        and call.taken.shape[2] // height == 2
    ]
    if not found:
        raise WhaleidError(
            f"backbone.fine: the last map of {backbone.name} has no stride that could be left out. Set it to false, or "
            f"take another model, such as resnet18."
        )
    for layer, _ in found:
        layer.stride = (1, 1) if isinstance(layer, nn.Conv2d) else 1


def load_weights(backbone: Backbone, weights: object, source: str) -> None:
    """Set the weights of `backbone` in place from the state dict of the whole classifier, whatever its classes.

    Args:
        backbone: whose weights to set.
        weights: what a file of weights holds, `source`; its last layer and its side outputs are not used.
        source: names the file in errors.

    Raises:
        WhaleidError: `weights` is no state dict.
        InputProblems: weights are missing, of another shape, or not of this model.
    """
    if _is_state_dict(weights):
        weights = zoo.translated(backbone.name, backbone.body, weights)
    whose = zoo.title(backbone.name)
    remedy = f"Give weights of {whose}, or set backbone.name to the model they are of."
    load_exactly(backbone.body, weights, f"{source} does not fit {backbone.name}", remedy, backbone.unused)


def _is_state_dict(weights: object) -> TypeGuard[Mapping[str, Tensor]]:
    return isinstance(weights, Mapping) and all(isinstance(weight, Tensor) for weight in weights.values())


def load_exactly(module: nn.Module, weights: object, wrong: str, remedy: str, unused: tuple[str, ...] = ()) -> None:
    """Set all weights of `module` in place from its state dict.

    Args:
        module: whose weights to set.
        weights: from names to tensors.
        wrong: says in errors what does not fit what.
        remedy: says in errors what to do about it.
        unused: how the names begin that `module` need not have.

    Raises:
        WhaleidError: `weights` is no state dict.
        InputProblems: weights are missing, of another shape, or not of this model.
    """
    if not _is_state_dict(weights):
        raise WhaleidError(f"{wrong}: it holds no state dict (names with their tensors). {remedy}")
    try:
        fit = module.load_state_dict(weights, strict=False)
        problems = [f"{name}: missing" for name in fit.missing_keys]
        problems += [f"{name}: unknown" for name in fit.unexpected_keys if not name.startswith(unused)]
    except (RuntimeError, ValueError) as error:  # shapes, or a layout that only torchvision's own files tell
        problems = str(error).split("\n\t")[1:] or [str(error)]
    if problems:
        raise InputProblems(wrong, problems, remedy)
