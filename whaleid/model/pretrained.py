"""Pretrained weights from files."""

import io

import torch

from whaleid.core.errors import WhaleidError, first_line
from whaleid.model.backbone import Backbone
from whaleid.model.tensors import is_state_dict, load_tensors, load_weights


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


def load(backbone: Backbone, state: object, source: str) -> None:
    """Set the weights of `backbone` in place from `state`, the state dict of a whole classifier; `source` names it.

    Raises:
        WhaleidError: `state` is no state dict.
        InputProblems: weights are missing, of another shape, or unknown.
    """
    if is_state_dict(state):
        state = backbone.rename(state)
    remedy = f"Give weights of {backbone.name}, or set backbone.name to the model they are of."
    load_weights(backbone.body, state, f"{source} does not fit {backbone.name}", remedy, backbone.unused)
