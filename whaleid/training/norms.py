"""Batch norms over all processes: their statistics are those of the whole batch, as if one process saw it.

torch.nn.SyncBatchNorm does the same on GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from whaleid.training.sums import Add


def synchronise(network: nn.Module, add: Add) -> None:
    """Make the batch norms of `network` that are trained take their statistics over all processes, by `add`.

    Names and values of weights stay as they are.
    """
    for name, layer in list(network.named_modules()):
        if isinstance(layer, _BatchNorm) and layer.weight.requires_grad:
            network.set_submodule(name, _SynchronisedNorm(layer, add))


class _SynchronisedNorm(_BatchNorm):
    def __init__(self, of: _BatchNorm, add: Add) -> None:
        super().__init__(of.num_features, of.eps, of.momentum)
        self.add = add
        self.weight, self.bias = of.weight, of.bias
        self.running_mean, self.running_var = of.running_mean, of.running_var
        self.num_batches_tracked = of.num_batches_tracked
        for name, layer in of.named_children():  # a norm of timm's may hold its activation
            self.add_module(name, layer)
        self.train(of.training)

    def _check_input_dim(self, _: Tensor) -> None:
        pass

    def forward(self, maps: Tensor) -> Tensor:
        """Return `maps` (B, F, ...), each feature with mean 0 and deviation 1 over all processes, scaled, shifted."""
        normed: Tensor
        if self.training:
            mean, variance, count = self._statistics(maps.detach())
            self._remember(mean, variance * (count / (count - 1)))
            normed = _Normed.apply(maps, self.weight, self.bias, mean, variance, count, self)
        else:
            normed = super().forward(maps)
        for layer in self.children():
            normed = layer(normed)
        return normed

    def _statistics(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance (F,) of `maps` (B, F, ...) over all processes, and () of how many values."""
        exact = maps if maps.is_cuda else maps.float()  # the CPU's statistics of bfloat16 are bfloat16 themselves
        mean, variance = (each.double() for each in torch.batch_norm_update_stats(exact, None, None, 0.0))
        count = maps.numel() // maps.shape[1]
        # by sums and sums of squares, in double precision, so that nothing cancels
        sums = torch.cat([count * mean, count * (variance + mean**2), mean.new_full((1,), count)])
        self.add(sums)
        total = sums[-1]  # no number of Python's: a GPU would have to be waited for
        mean, squares = (sums[:-1] / total).chunk(2)
        return mean.float(), (squares - mean**2).clamp(min=0).float(), total

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        norm: _SynchronisedNorm,
    ) -> Tensor:
        context.save_for_backward(maps, weight, mean, variance)
        context.count, context.norm = count, norm
        return F.batch_norm(maps, mean, variance, weight, bias, training=False, eps=norm.eps)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight, mean, variance = context.saved_tensors
        eps = context.norm.eps
        # with statistics that stand still; that they move with the maps is taken off below. GPUs want them twice
        scale = (variance + eps).rsqrt()
        still, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, maps, weight, mean, variance, mean, scale, False, eps, [True, True, True]
        )
        sums = torch.stack([of_weight, of_bias]).double()
        context.norm.add(sums)
        along, level = sums.float() * (weight * scale / context.count)
        moved = F.batch_norm(maps, mean, variance, along, level, training=False, eps=eps)
        return still.sub_(moved), of_weight, of_bias, None, None, None, None
