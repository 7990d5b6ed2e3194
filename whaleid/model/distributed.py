"""Distributed training: torchrun starts several processes, and each trains on its shard of every batch."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from whaleid.core import ranks
from whaleid.core.errors import WhaleidError, first_line
from whaleid.core.parallel import cores
from whaleid.model.architectures import TIMM
from whaleid.model.device import pick_device

if TYPE_CHECKING:
    from whaleid.model.network import Network

T = TypeVar("T")
CPU = torch.device("cpu")
TIMEOUT = timedelta(hours=1)
"""Maximum time that a process waits for the others, one of which may be writing a large file.

A process that has ended is detected at once.
"""
COLLECTIVE_ERRORS = ("gloo", "nccl", "connection closed", "connection reset", "timed out waiting")
"""Substrings of error messages of collective operations. gloo raises them as plain RuntimeErrors."""


@dataclass(frozen=True)
class ProcessGroup:
    """The group of processes that train one network, seen from one process; by default, a single process on the CPU."""

    device: torch.device = CPU
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and logs to MLflow."""
        return self.rank == 0

    def shard(self, rows: int) -> slice:
        """Return this process's share of `rows` rows; the shards of the processes differ by at most one row."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def describe(self) -> str:
        """Return the device of this process and the number of processes, for a log line."""
        is_gpu = self.device.type == "cuda"
        detail = torch.cuda.get_device_name(self.device) if is_gpu else f"{torch.get_num_threads()} threads"
        return f"{self.device} ({detail})" + (f", {self.size} processes" if self.size > 1 else "")

    def wrap(self, network: Network) -> nn.Module:
        """Wrap `network` for training, so that its gradients are averaged over all processes.

        On GPUs, trainable batch norms use the statistics of the whole batch. On CPUs, each process uses the statistics
        of its shard, and the running statistics of the first process are saved.
        """
        if self.size == 1:
            return network
        if self.device.type == "cuda":
            synchronise_batch_norms(network, network.backbone.name)
        return DistributedDataParallel(network, gradient_as_bucket_view=True)

    def broadcast_buffers(self, network: nn.Module) -> None:
        """Copy the running statistics of the first process to all others, as DDP does before each step."""
        if self.size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)

    def sum(self, values: Tensor) -> Tensor:
        """Sum `values` over all processes, in place, and return them."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def broadcast(self, value: T) -> T:
        """Return the `value` of the first process."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0)
        return values[0]

    def all_gather(self, value: T) -> list[T]:
        """Return the `value` of each process, in order of rank."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def check_same(self, digest: str) -> None:
        """Check that all processes have the same digest of their inputs.

        Raises:
            WhaleidError: the digest of a process differs from the first one's; raised in every process.
        """
        digests = self.all_gather(digest)
        different = [rank for rank, value in enumerate(digests) if value != digests[0]]
        if different:
            raise WhaleidError(
                f"process {different[0]} of {self.size} and process 0 have different photos, parameters, networks or "
                "code. Check out the same commit and run `dvc pull` on every host, or use a folder that all hosts "
                "share."
            )


SINGLE_PROCESS = ProcessGroup()


def synchronise_batch_norms(network: nn.Module, backbone: str) -> None:
    """Replace trainable batch norms of `network` with synchronised ones, which torch supports on GPUs only."""
    convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
    if backbone.startswith(TIMM):  # torch's function drops the activation that is part of timm's norms
        from timm.layers.norm_act import convert_sync_batchnorm as convert

    for name, layer in list(network.named_modules()):
        if isinstance(layer, _BatchNorm) and any(weight.requires_grad for weight in layer.parameters()):
            network.set_submodule(name, convert(layer))


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """Join the process group of torchrun; without torchrun, yield a group of one process.

    Raises:
        WhaleidError: `pick_device` finds no device, or in the `with` block, another process ended or does not respond.
    """
    device = pick_device()
    if not ranks.launched_by_torchrun():
        yield ProcessGroup(device)
        return
    # torchrun sets one thread per process, whatever the number of cores
    torch.set_num_threads(max(1, cores() // ranks.local_world_size()))
    processes = ProcessGroup(device, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    is_gpu = device.type == "cuda"
    try:
        # gloo transfers objects and tensors that are not on a GPU
        backend = "cpu:gloo,cuda:nccl" if is_gpu else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT, device_id=device if is_gpu else None)
        yield processes
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(text in str(error).lower() for text in COLLECTIVE_ERRORS):
            raise
        raise WhaleidError(
            f"process {processes.rank} of {processes.size} on {socket.gethostname()}: another process ended or does "
            f"not respond ({first_line(error)}). Its own error is above, or on its host. All processes stop. Run the "
            "same command again: training resumes after the last saved epoch."
        ) from None
    dist.destroy_process_group()
