"""Several processes that train one network: torchrun starts them, and each learns its part of every batch."""

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
"""How long a process waits for the others, of which one may write a large file. A process that ended is noticed at
once."""
SIGNS = ("gloo", "nccl", "connection closed", "connection reset", "timed out waiting")
"""Parts of the messages of errors of collectives; those of gloo are plain RuntimeErrors."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that work on one network, and the device and the rank of this one; by default, it is alone."""

    device: torch.device = CPU
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and tracks."""
        return self.rank == 0

    def part(self, rows: int) -> slice:
        """Return which of `rows` are this process's; parts differ by one row at most."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def describe(self) -> str:
        """Return the device of this process and the number of processes, for a log line."""
        gpu = self.device.type == "cuda"
        kind = torch.cuda.get_device_name(self.device) if gpu else f"{torch.get_num_threads()} threads"
        return f"{self.device} ({kind})" + (f", {self.size} processes" if self.size > 1 else "")

    def wrap(self, network: Network) -> nn.Module:
        """Return `network` for training: its gradients are the mean over all processes.

        On GPUs, batch norms that are trained take their statistics from all parts of a batch. On a CPU, each process
        takes them from its own part, and the running statistics are those of the first process.
        """
        if self.size == 1:
            return network
        if self.device.type == "cuda":
            synchronise_norms(network, network.backbone.name)
        return DistributedDataParallel(network, gradient_as_bucket_view=True)

    def broadcast_buffers(self, network: nn.Module) -> None:
        """Give every process the running statistics of the first one, as DDP does before each step."""
        if self.size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)

    def sum(self, values: Tensor) -> Tensor:
        """Return `values` summed over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def broadcast(self, value: T) -> T:
        """Return the first process's `value`."""
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
        """Check that all processes are about to work with the same files.

        Raises:
            WhaleidError: one has another digest than the first; raised in all of them.
        """
        digests = self.all_gather(digest)
        others = [rank for rank, other in enumerate(digests) if other != digests[0]]
        if others:
            raise WhaleidError(
                f"process {others[0]} of {self.size} has other photos, parameters, networks or code than process 0: "
                "give all the same commit and `dvc pull`, or a folder that all share."
            )


ALONE = ProcessGroup()


def synchronise_norms(network: nn.Module, backbone: str) -> None:
    """Replace the batch norms of `network` that are trained by ones over all processes, which work on GPUs alone."""
    convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
    if backbone.startswith(TIMM):  # torch's own drops the activation in timm's norms
        from timm.layers.norm_act import convert_sync_batchnorm as convert

    for name, layer in list(network.named_modules()):
        if isinstance(layer, _BatchNorm) and any(weight.requires_grad for weight in layer.parameters()):
            network.set_submodule(name, convert(layer))


@contextmanager
def joined() -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started, each on the device of `pick_device`; without it, this one is alone.

    Raises:
        WhaleidError: this machine lacks a device; in the block, another process ended or did not answer.
    """
    device = pick_device()
    if not ranks.launched_by_torchrun():
        yield ProcessGroup(device)
        return
    # torchrun sets one thread each, however many cores there are
    torch.set_num_threads(max(1, cores() // ranks.local_world_size()))
    processes = ProcessGroup(device, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    gpu = device.type == "cuda"
    try:
        # gloo carries what is not on a GPU
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT, device_id=device if gpu else None)
        yield processes
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(sign in str(error).lower() for sign in SIGNS):
            raise
        raise WhaleidError(
            f"process {processes.rank} of {processes.size} on {socket.gethostname()}: another process ended or does "
            f"not answer ({first_line(error)}). Its own error is above, or on its host. All stop. Run the same command "
            "again: a training resumes."
        ) from None
    dist.destroy_process_group()
