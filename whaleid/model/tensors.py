"""Tensors with a description in JSON, as the bytes of a safetensors file and back."""

import json
from collections.abc import Mapping
from typing import Literal, TypeGuard, TypeVar

import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from whaleid.core.errors import InputProblems, WhaleidError, first_line

KEY = "whaleid"
"""The key of the description in the file's metadata."""
REMEDY = "Run `dvc repro` to make it again."


class Header(BaseModel):
    """The description of a file: a subclass has all that is needed to rebuild a network from its tensors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    version: Literal[1] = 1


H = TypeVar("H", bound=Header)


def save(tensors: Mapping[str, Tensor], header: Header) -> bytes:
    """Return the bytes of a file: the same for the same tensors, whatever device and memory layout they have."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain, {KEY: header.model_dump_json()})


def load(data: bytes, name: str, header: type[H], remedy: str = REMEDY) -> tuple[dict[str, Tensor], H]:
    """Return the tensors, on the CPU, and the description of a file that `save` made.

    `header` is the kind of file; in errors, `name` names the file and `remedy` says what to do.

    Raises:
        WhaleidError: `data` is no whole safetensors file, or its description is missing or of another kind or version.
    """
    tensors = load_tensors(data, name, remedy)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    if KEY not in metadata:
        raise WhaleidError(f"{name} is no checkpoint of whaleid: its header has no description. {remedy}")
    try:
        return tensors, header.model_validate_json(metadata[KEY])
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        reason = f"{key}: {problem['msg']}" if key else problem["msg"]
        raise WhaleidError(f"{name} is a checkpoint of another kind or version ({reason}). {remedy}") from None


def load_tensors(data: bytes, name: str, remedy: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; arguments and errors as in `load`."""
    try:
        return safetensors.torch.load(data)
    except Exception as error:  # depends on the bytes
        raise WhaleidError(
            f"{name} is no safetensors file, or not a whole one ({first_line(error)}). {remedy}"
        ) from None


def is_state_dict(weights: object) -> TypeGuard[Mapping[str, Tensor]]:
    """Return whether `weights` maps names to tensors."""
    return isinstance(weights, Mapping) and all(isinstance(weight, Tensor) for weight in weights.values())


def load_weights(module: nn.Module, weights: object, wrong: str, remedy: str, unused: tuple[str, ...] = ()) -> None:
    """Set all weights of `module` in place from its state dict; names that begin with one of `unused` are ignored.

    In errors, `wrong` says what does not fit and `remedy` what to do.

    Raises:
        WhaleidError: `weights` is no state dict.
        InputProblems: weights are missing, of another shape, or unknown.
    """
    if not is_state_dict(weights):
        raise WhaleidError(f"{wrong}: it holds no state dict (names with their tensors). {remedy}")
    try:
        fit = module.load_state_dict(weights, strict=False)
        problems = [f"{name}: missing" for name in fit.missing_keys]
        problems += [f"{name}: unknown" for name in fit.unexpected_keys if not name.startswith(unused)]
    except RuntimeError as error:  # tensors of other shapes
        problems = str(error).split("\n\t")[1:] or [str(error)]
    if problems:
        raise InputProblems(wrong, problems, remedy)
