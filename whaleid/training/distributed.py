"""Several processes that train one network, on one host or on several, each with its part of every batch.

`torchrun` starts them and tells each its place. A batch is as large as `params.yaml` says, whatever the number of
processes, so that it changes nothing of a result but its rounding.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from whaleid.core import ranks
from whaleid.core.errors import WhaleidError
from whaleid.core.parallel import cores
from whaleid.core.switches import switched_on
from whaleid.training.sums import Add, by_backend, by_sockets

T = TypeVar("T")
PATIENCE = timedelta(hours=1)
"""How long one process waits for the others: longer than one may be behind. That one has ended is told at once."""


@dataclass(frozen=True)
class World:
    """The processes of one training, and this one's place among them: by default, it is alone."""

    rank: int = 0
    size: int = 1
    same_norms: bool = True  # whether batch norms take their statistics from the whole batch, not from a part each
    add: Add = by_backend  # what those are added up by

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and tracks."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Return which of `count` rows are this process's; parts differ by one row at most."""
        bounds = self._bounds(count)
        return slice(bounds[self.rank], bounds[self.rank + 1])

    def gathered(self, rows: Tensor, count: int) -> Tensor:
        """Return all `count` rows, (count, ...), of which each process has its part; gradients find their way back.

        What is computed from them is the same in every process. A gradient comes back times the number of processes,
        since `wrapped` takes the mean over them.
        """
        if self.size == 1:
            return rows
        whole: Tensor = _Gathered.apply(rows, self, count)
        return whole

    def collected(self, rows: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
        """Return all `count` rows, (count, ...) float32, of which each process has its part."""
        if self.size == 1:
            return rows
        whole: npt.NDArray[np.float32] = self._gather(torch.from_numpy(rows), count).numpy()
        return whole

    def shared(self, value: T) -> T:
        """Return what the first process calls `value`."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def every(self, value: T) -> list[T]:
        """Return what each process calls `value`, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def agree(self, mark: str) -> None:
        """Check that all processes have the same `mark` of what they are about to work with.

        Raises:
            WhaleidError: one has another than the first; in all of them.
        """
        marks = self.every(mark)
        if others := [rank for rank, each in enumerate(marks) if each != marks[0]]:
            raise WhaleidError(
                f"process {others[0]} of {self.size} has other photos, parameters, networks or code than process 0: "
                "give all the same commit and `dvc pull`, or a folder that all share."
            )

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return what computes as `network` does, and whose gradients are the mean over processes.

        Where batch norms remember other things in each, it takes them from the first process at each step.
        """
        if self.size == 1:
            return network
        wrapped = DistributedDataParallel(network, gradient_as_bucket_view=True)
        wrapped.broadcast_buffers = not self.same_norms  # as an argument, it warns or is unknown, by torch's version
        return wrapped

    def level(self, network: nn.Module) -> None:
        """Make what batch norms of `network` remember in every process what it is in the first."""
        if self.size > 1 and not self.same_norms:  # else they remember the same
            for memory in network.buffers():
                dist.broadcast(memory, src=0)

    def _bounds(self, count: int) -> list[int]:
        each, more = divmod(count, self.size)
        return [rank * each + min(rank, more) for rank in range(self.size + 1)]

    def _gather(self, rows: Tensor, count: int) -> Tensor:
        largest = -(-count // self.size)
        padded = rows.new_zeros((largest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        bounds = self._bounds(count)
        return torch.cat([part[: bounds[rank + 1] - bounds[rank]] for rank, part in enumerate(parts)])


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor, world: World, count: int) -> Tensor:
        context.world, context.count = world, count
        return world._gather(rows, count)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # every process computes the same from all rows: the gradient of its own part is whole already
        return gradient[context.world.part(context.count)] * context.world.size, None, None


ALONE = World()
SIGNS = ("gloo", "nccl", "connection closed", "connection reset", "timed out waiting")
"""What errors of collectives say; those of gloo are plain RuntimeErrors."""


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started; without it, this one is alone.

    Raises:
        WhaleidError: in the block, another process ended or did not answer; or WHALEID_SYNC_NORMS is neither `on` nor
            `off`.
    """
    if not ranks.launched():
        yield ALONE
        return
    same_norms = switched_on("WHALEID_SYNC_NORMS", default="on")
    gpu = device.type == "cuda"
    # torchrun asks for one thread each, however many cores there are
    torch.set_num_threads(max(1, cores() // ranks.beside()))
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        # what is no tensor of a GPU goes by gloo
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE, device_id=device if gpu else None)
        with ExitStack() as kept:
            add: Add = by_backend
            if not gpu and size == ranks.beside():
                add = kept.enter_context(by_sockets(rank, size, PATIENCE.total_seconds()))
            yield World(rank, size, same_norms, add)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(sign in str(error).lower() for sign in SIGNS):
            raise
        reason = str(error).splitlines()[0]
        raise WhaleidError(
            f"process {rank} of {size} on {socket.gethostname()}: another one ended or does not answer "
            f"({reason}). All stop; its own error is above, or on its host. Run the same command again; a training "
            f"goes on after its last whole epoch."
        ) from None
    dist.destroy_process_group()
