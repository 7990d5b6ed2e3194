"""Read and write safetensors files with a JSON description in their header."""

import json
from collections.abc import Mapping
from typing import Literal, TypeGuard, TypeVar

import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from whaleid.core.errors import InputProblems, WhaleidError, first_line

METADATA_KEY = "whaleid"
"""The key of the description in the file's metadata."""
REMEDY = "Run `dvc repro` to rebuild it."


class Header(BaseModel):
    """The description of a file. A subclass adds the fields that its content needs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    version: Literal[1] = 1


H = TypeVar("H", bound=Header)


def save(tensors: Mapping[str, Tensor], header: Header) -> bytes:
    """Serialise `tensors` and `header`; the bytes do not depend on the tensors' device or memory layout."""
    cpu_tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(cpu_tensors, {METADATA_KEY: header.model_dump_json()})


def load(data: bytes, name: str, header: type[H], remedy: str = REMEDY) -> tuple[dict[str, Tensor], H]:
    """Read a file written by `save`: return its tensors by name, on the CPU, and its description.

    `header` is the expected class of the description. Errors name the file `name` and end in `remedy`.

    Raises:
        WhaleidError: `data` is not a complete safetensors file, or its description is missing or of another kind or
            version.
    """
    tensors = load_tensors(data, name, remedy)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    if METADATA_KEY not in metadata:
        raise WhaleidError(f"{name} is not a whaleid checkpoint: its header has no description. {remedy}")
    try:
        return tensors, header.model_validate_json(metadata[METADATA_KEY])
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        reason = f"{key}: {problem['msg']}" if key else problem["msg"]
        raise WhaleidError(f"{name} is a checkpoint of another kind or version ({reason}). {remedy}") from None


def load_tensors(data: bytes, name: str, remedy: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name. For arguments and errors, see `load`."""
    try:
        return safetensors.torch.load(data)
    except Exception as error:  # the exception type depends on the bytes
        raise WhaleidError(
            f"{name} is not a safetensors file, or is incomplete ({first_line(error)}). {remedy}"
        ) from None


def is_state_dict(weights: object) -> TypeGuard[Mapping[str, Tensor]]:
    """Return whether `weights` maps names to tensors."""
    return isinstance(weights, Mapping) and all(isinstance(weight, Tensor) for weight in weights.values())


def load_weights(
    module: nn.Module, weights: object, problem: str, remedy: str, ignored_prefixes: tuple[str, ...] = ()
) -> None:
    """Load the state dict `weights` into `module`, in place; errors begin with `problem` and end in `remedy`.

    Unknown weights are ignored if their names have one of the `ignored_prefixes`.

    Raises:
        WhaleidError: `weights` is not a state dict.
        InputProblems: weights are missing, unknown or of another shape.
    """
    if not is_state_dict(weights):
        raise WhaleidError(f"{problem}: it does not contain a state dict (tensors by name). {remedy}")
    try:
        keys = module.load_state_dict(weights, strict=False)
        problems = [f"{name}: missing" for name in keys.missing_keys]
        problems += [f"{name}: unknown" for name in keys.unexpected_keys if not name.startswith(ignored_prefixes)]
    except RuntimeError as error:  # tensors of other shapes
        problems = str(error).split("\n\t")[1:] or [str(error)]
    if problems:
        raise InputProblems(problem, problems, remedy)
