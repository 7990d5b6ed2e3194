"""Save and load the state of an unfinished training, as the bytes of a safetensors file.

The order of photos, augmentation and dropout are not part of it: each epoch draws them from the seed and its number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from whaleid.core.errors import WhaleidError
from whaleid.model import tensors


@dataclass(frozen=True)
class Epoch:
    """Metrics of one epoch: `learning` is reproducible, `speed` depends on the machine."""

    learning: dict[str, float]  # lr, loss (nats), accuracy, validation_loss, validation_accuracy
    speed: dict[str, float]  # epoch_seconds, photos_per_second


@dataclass(frozen=True)
class State:
    """The state from which training resumes: the completed epochs, and the tensors of network and optimiser."""

    epochs: Sequence[Epoch]
    tensors: Mapping[str, Tensor]


def snapshot(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the weights and buffers of `network` and the state of `optimiser`, by name."""
    state_dict = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, weight in network.named_parameters():
        for key, value in optimiser.state.get(weight, {}).items():  # exp_avg, exp_avg_sq and step of AdamW
            state_dict[f"{key}.{name}"] = value
    return state_dict


def restore(network: nn.Module, optimiser: torch.optim.Optimizer, state_dict: Mapping[str, Tensor]) -> None:
    """Load a snapshot into `network` and `optimiser`, in the memory layout of the weights."""
    for name, value in network.state_dict().items():
        value.copy_(state_dict[f"network.{name}"])
    for name, weight in network.named_parameters():
        if f"step.{name}" in state_dict:
            moments = {
                key: torch.empty_like(weight, requires_grad=False).copy_(state_dict[f"{key}.{name}"])
                for key in ("exp_avg", "exp_avg_sq")
            }
            optimiser.state[weight] = {"step": state_dict[f"step.{name}"].to(weight.device), **moments}


class _StateHeader(tensors.Header):
    kind: Literal["state"] = "state"
    training: str
    epochs: list[Epoch]


def save(state: State, digest: str) -> bytes:
    """Serialise a state; `digest` identifies the training that it belongs to."""
    return tensors.save(state.tensors, _StateHeader(training=digest, epochs=list(state.epochs)))


def load(data: bytes, digest: str, name: str) -> State:
    """Load a state that `save` serialised; `name` is the file's name in errors.

    Raises:
        WhaleidError: the file is damaged, or belongs to a training with another digest.
    """
    state_dict, header = tensors.load(data, name, _StateHeader, "Training starts from the beginning.")
    if header.training != digest:
        raise WhaleidError(
            f"{name} belongs to a training with other photos, parameters or code. Training starts from the beginning."
        )
    return State(header.epochs, state_dict)
