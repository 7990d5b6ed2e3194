"""Pretrained weights of torchvision and timm, downloaded once, and state dicts from files."""

import io
import json
import sys
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor

from whaleid.core.errors import WhaleidError, first_line
from whaleid.model import architectures, timm_models
from whaleid.model.architectures import models
from whaleid.model.backbone import Backbone
from whaleid.model.tensors import is_state_dict, load_tensors, load_weights
from whaleid.model.timm_models import TIMM

SOURCES = ("hf-hub:", "local-dir:")
"""Prefixes, in timm, of models of the Hugging Face hub and of models in a folder laid out as there."""


def from_torchvision(name: str) -> Mapping[str, Tensor]:
    """Return torchvision's own state dict of the model `name`, from torch's cache or from the internet.

    Raises:
        WhaleidError: it cannot be downloaded, or the file in the cache is damaged.
    """
    weights = models.get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    try:
        # file names end in the first digits of their SHA-256, which are compared after a download
        state: Mapping[str, Tensor] = weights.get_state_dict(
            check_hash=True, progress=sys.stderr.isatty(), map_location="cpu", weights_only=True
        )
    except Exception as error:  # depends on the bytes of a damaged file
        if isinstance(error, OSError | HTTPException) or not file.exists():
            raise WhaleidError(
                f"backbone.weights: DEFAULT: {weights.url} could not be downloaded ({error}). Fetch {file.name} by "
                f"other means and put it at {file}, or set backbone.weights to where you keep it."
            ) from None
        raise WhaleidError(f"backbone.weights: DEFAULT: {file} is damaged. Remove it and try again.") from None
    return state


def from_timm(name: str) -> Mapping[str, Tensor]:
    """Return timm's own state dict of the model `timm/NAME`.

    Raises:
        WhaleidError: there is none, it cannot be fetched, or it does not fit.
    """
    timm = timm_models.load_timm(name)
    source = _source(name)
    model, arguments = (source, {}) if source else timm_models.parse(name)
    try:
        # the whole classifier: timm ignores missing weights if the number of classes differs from the file's
        weights: Mapping[str, Tensor] = timm.create_model(model, pretrained=True, **arguments).state_dict()
    except Exception as error:  # the hub, its client and timm raise nearly anything
        raise _failure("backbone.weights: DEFAULT", model, error) from None
    return weights


def from_file(data: bytes, name: str) -> object:
    """Return the content of the file `name` of weights: safetensors by its suffix, else torch's format, tensors only.

    Raises:
        WhaleidError: the file is damaged, or holds more than tensors and plain values.
    """
    source, remedy = f"backbone.weights: {name}", "Save a state dict, or fetch the file again."
    if name.endswith(".safetensors"):
        return load_tensors(data, source, remedy)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # depends on the bytes
        reason = f"it is cut off, or no file of tensors and plain values ({first_line(error)})"
        raise WhaleidError(f"{source} cannot be read: {reason}. {remedy}") from None


def resolve(name: str) -> str:
    """Return the name that `architectures.build` knows of a model that `name` takes from the hub or a folder.

    Raises:
        WhaleidError: the model's description cannot be fetched, or timm cannot use it.
    """
    if not (source := _source(name)):
        return name
    timm = timm_models.load_timm(name)
    try:
        described = timm.models.resolve_model_input_args(source)
        model, config = described["model_name"], described["pretrained_cfg"]
        arguments = {"img_size": list(config["input_size"][1:])} if config["fixed_input_size"] else {}
        arguments |= described.get("pretrained_model_args", {})
        size = list(timm.get_pretrained_cfg(model).input_size[1:])
    except Exception as error:  # as above; and the description may lack anything
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


def load(backbone: Backbone, state: object, source: str) -> None:
    """Set the weights of `backbone` in place from `state`, the state dict of a whole classifier; `source` names it.

    Raises:
        WhaleidError: `state` is no state dict.
        InputProblems: weights are missing, of another shape, or unknown.
    """
    if is_state_dict(state):
        state = architectures.rename_weights(backbone.name, backbone.body, state)
    remedy = f"Give weights of {backbone.name}, or set backbone.name to the model they are of."
    load_weights(backbone.body, state, f"{source} does not fit {backbone.name}", remedy, backbone.unused)
