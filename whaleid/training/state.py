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
    named = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, weight in network.named_parameters():
        for key, value in optimiser.state.get(weight, {}).items():  # exp_avg, exp_avg_sq and step of AdamW
            named[f"{key}.{name}"] = value
    return named


def restore(network: nn.Module, optimiser: torch.optim.Optimizer, named: Mapping[str, Tensor]) -> None:
    """Load the snapshot `named` into `network` and `optimiser`, in the memory layout of the weights."""
    for name, value in network.state_dict().items():
        value.copy_(named[f"network.{name}"])
    for name, weight in network.named_parameters():
        if f"step.{name}" in named:
            moments = {
                key: torch.empty_like(weight, requires_grad=False).copy_(named[f"{key}.{name}"])
                for key in ("exp_avg", "exp_avg_sq")
            }
            optimiser.state[weight] = {"step": named[f"step.{name}"].to(weight.device), **moments}


class _StateHeader(tensors.Header):
    kind: Literal["state"] = "state"
    training: str
    epochs: list[Epoch]


def save(state: State, training: str) -> bytes:
    """Serialise a state; `training` is the digest of the training that it belongs to."""
    return tensors.save(state.tensors, _StateHeader(training=training, epochs=list(state.epochs)))


def load(data: bytes, training: str, name: str) -> State:
    """Load a state that `save` serialised; errors name the file `name`.

    Raises:
        WhaleidError: the file is damaged, or belongs to a training with another digest.
    """
    named, header = tensors.load(data, name, _StateHeader, "Training starts from the beginning.")
    if header.training != training:
        raise WhaleidError(
            f"{name} belongs to a training with other photos, parameters or code. Training starts from the beginning."
        )
    return State(header.epochs, named)
