"""Any torchvision classification model without its last layer: from photos to features."""

import difflib
import math
import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from whaleid.errors import InputProblems, WhaleidError

RETURNED_EARLY = ("aux1.", "aux2.", "AuxLogits.")
"""Side outputs of GoogLeNet and Inception, which helped to train them on ImageNet and are left out here."""


PROBE = 128
"""Pixels: a square this large leaves every model a map of more than one place."""


class Backbone(nn.Module):
    """A torchvision classification model that maps (B, 3, H, W) float to (B, `features`) float.

    Photos of a size that the model does not take are resized: to the one size of a vision transformer or MaxViT,
    else, where they are smaller than the model's smallest size, by the least factor that reaches it.

    Raises:
        WhaleidError: torchvision has no such classification model.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.body = _classifier(name)
        self.last, self.features = _cut(self.body)
        self.smallest: tuple[int, int] = models.get_model_weights(name).DEFAULT.meta["min_size"]
        self.one_size = isinstance(self.body, models.VisionTransformer | models.MaxVit)
        self._map = _last_map(self)

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


def _classifier(name: str) -> nn.Module:
    """Build the whole model with random weights, from torch's global generator."""
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}."
        raise WhaleidError(f"backbone.name: torchvision has no classification model {name!r}; {hint}")
    options: dict[str, object] = {}
    if name.startswith("vit_"):
        options = {"image_size": models.get_model_weights(name).DEFAULT.meta["min_size"][0]}
    elif name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    model: nn.Module = models.get_model(name, weights=None, **options)
    return model


def _cut(model: nn.Module) -> tuple[str, int]:
    """Take out the last layer in place; return its name and the number of features that went into it."""
    named = list(model.named_modules())
    place = max(at for at, (_, layer) in enumerate(named) if isinstance(layer, nn.Linear | nn.Conv2d))
    name, layer = named[place]
    model.set_submodule(name, nn.Identity())
    before, dropout = named[place - 1]
    if isinstance(dropout, nn.Dropout):
        # a batch norm follows now, whose statistics dropout would falsify: it spreads the features in training, but
        # not in use (Li et al. 2019, "Understanding the Disharmony between Dropout and Batch Normalization by
        # Variance Shift")
        model.set_submodule(before, nn.Identity())
    features = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    assert isinstance(features, int)
    return name, features


def _last_map(backbone: Backbone) -> str | None:
    """Name the layer whose output is the map that the features are the mean of, if the model has one."""
    maps: dict[str, Tensor] = {}

    def look(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            maps[name] = output

    handles = [
        layer.register_forward_hook(lambda *call, name=name: look(name, call[-1]))
        for name, layer in backbone.body.named_modules()
        if name
    ]
    with torch.no_grad():
        features = backbone.eval()(torch.linspace(-2, 2, 3 * PROBE * PROBE).reshape(1, 3, PROBE, PROBE))
    backbone.train()
    for handle in handles:
        handle.remove()
    # some models clip the map before they take its mean
    pooled = {name: (found.mean(dim=(2, 3)), found.relu().mean(dim=(2, 3))) for name, found in maps.items()}
    fit = [
        name
        for name, means in pooled.items()
        if any(mean.shape == features.shape and torch.allclose(mean, features, atol=1e-6) for mean in means)
        and maps[name].shape[2:].numel() > 1
    ]
    return fit[-1] if fit else None


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
    if isinstance(weights, Mapping) and backbone.name.startswith("densenet"):
        # torchvision's own files carry the names of an older version
        old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
        weights = {old.sub(r"\1\2.", str(name)): weight for name, weight in weights.items()}
    remedy = f"Give weights of torchvision's {backbone.name}, or set backbone.name to the model they are of."
    unused = (f"{backbone.last}.", *RETURNED_EARLY)
    load_exactly(backbone.body, weights, f"{source} does not fit {backbone.name}", remedy, unused)


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
    if not isinstance(weights, Mapping) or not all(isinstance(weight, Tensor) for weight in weights.values()):
        raise WhaleidError(f"{wrong}: it holds no state dict (names with their tensors). {remedy}")
    try:
        fit = module.load_state_dict(weights, strict=False)
        problems = [f"{name}: missing" for name in fit.missing_keys]
        problems += [f"{name}: unknown" for name in fit.unexpected_keys if not name.startswith(unused)]
    except (RuntimeError, ValueError) as error:  # shapes, or a layout that only torchvision's own files tell
        problems = str(error).split("\n\t")[1:] or [str(error)]
    if problems:
        raise InputProblems(wrong, problems, remedy)
