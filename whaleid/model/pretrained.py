"""Pretrained weights from files."""

import io

import torch

from whaleid.core.errors import WhaleidError, first_line
from whaleid.model.backbone import Backbone
from whaleid.model.tensors import is_state_dict, load_tensors, load_weights


def from_file(data: bytes, name: str) -> object:
    """Return the content of the weights file `name`.

    A file named `*.safetensors` is read as safetensors, any other as torch's format restricted to tensors and plain
    values, so that a pickle cannot run code.

    Raises:
        WhaleidError: the file is damaged, or contains more than tensors and plain values.
    """
    source, remedy = f"backbone.weights: {name}", "Save a state dict, or fetch the file again."
    if name.endswith(".safetensors"):
        return load_tensors(data, source, remedy)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # the exception type depends on the bytes
        reason = f"it is truncated, or contains more than tensors and plain values ({first_line(error)})"
        raise WhaleidError(f"{source} cannot be read: {reason}. {remedy}") from None


def load(backbone: Backbone, state: object, source: str) -> None:
    """Load the state dict of a full classification model into `backbone`, in place; `source` names it in errors.

    Raises:
        WhaleidError: `state` is not a state dict.
        InputProblems: weights are missing, unknown or of another shape.
    """
    if is_state_dict(state):
        state = backbone.convert(state)
    remedy = f"Provide weights of {backbone.name}, or set backbone.name to the model that these weights belong to."
    load_weights(backbone.body, state, f"{source} does not fit {backbone.name}", remedy, backbone.ignored_prefixes)
