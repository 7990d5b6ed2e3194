"""The state of a training between two epochs as named tensors, all that safetensors holds.

The order of photos, augmentation and dropout need no state: they are drawn anew for each epoch, from the seed.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def state(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return copies, on the CPU, of weights and buffers of `network` and of what `optimiser` keeps of each weight."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, weight in network.named_parameters():
        for key, value in optimiser.state.get(weight, {}).items():  # exp_avg, exp_avg_sq and step of AdamW
            tensors[f"{key}.{name}"] = value
    return {name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}


def restore(network: nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set `network` and `optimiser` to the state that `state` returned of them, in their own memory layout."""
    for name, value in network.state_dict().items():
        value.copy_(tensors[f"network.{name}"])
    for name, weight in network.named_parameters():
        if f"step.{name}" in tensors:
            step = tensors[f"step.{name}"].to(weight.device)
            averages = {
                key: torch.empty_like(weight.detach()).copy_(tensors[f"{key}.{name}"])
                for key in ("exp_avg", "exp_avg_sq")
            }
            optimiser.state[weight] = {"step": step, **averages}
