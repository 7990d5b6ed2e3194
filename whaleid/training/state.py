"""The state of a training after an epoch, as the bytes of a safetensors file and back.

The order of photos, augmentation and dropout need no state: they are drawn anew for each epoch, from the seed.
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
    """The figures of one epoch: those of learning are the same on every run, those of speed are the machine's."""

    learning: dict[str, float]  # lr, loss (nats), accuracy, validation_loss, validation_accuracy
    speed: dict[str, float]  # epoch_seconds, photos_per_second


@dataclass(frozen=True)
class State:
    """All that the rest of a training depends on: its epochs so far, and the tensors of network and optimiser."""

    epochs: Sequence[Epoch]
    tensors: Mapping[str, Tensor]


def snapshot(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the weights and buffers of `network` and what `optimiser` keeps of each weight, by name."""
    named = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, weight in network.named_parameters():
        for key, value in optimiser.state.get(weight, {}).items():  # exp_avg, exp_avg_sq and step of AdamW
            named[f"{key}.{name}"] = value
    return named


def restore(network: nn.Module, optimiser: torch.optim.Optimizer, named: Mapping[str, Tensor]) -> None:
    """Set `network` and `optimiser` to a snapshot, in the memory layout of the weights."""
    for name, value in network.state_dict().items():
        value.copy_(named[f"network.{name}"])
    for name, weight in network.named_parameters():
        if f"step.{name}" in named:
            averages = {
                key: torch.empty_like(weight, requires_grad=False).copy_(named[f"{key}.{name}"])
                for key in ("exp_avg", "exp_avg_sq")
            }
            optimiser.state[weight] = {"step": named[f"step.{name}"].to(weight.device), **averages}


class _StateHeader(tensors.Header):
    kind: Literal["state"] = "state"
    training: str
    epochs: list[Epoch]


def save(state: State, training: str) -> bytes:
    """Return the bytes of a file with the state of the training that has the digest `training`."""
    return tensors.save(state.tensors, _StateHeader(training=training, epochs=list(state.epochs)))


def load(data: bytes, training: str, name: str) -> State:
    """Return the state in a file that `save` made; `name` names it in errors.

    Raises:
        WhaleidError: it is damaged, or of a training with another digest.
    """
    named, header = tensors.load(data, name, _StateHeader, "Training begins anew.")
    if header.training != training:
        raise WhaleidError(f"{name} is of another training (other photos, parameters or code): this one begins anew.")
    return State(header.epochs, named)
