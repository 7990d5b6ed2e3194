"""Sums over processes of one host, of tensors so small that waking a thread takes longer than adding them.

Batch norms ask for two a layer and step. gloo hands each to a thread of its own and waits for it, which takes two
milliseconds where every core computes; here, whoever needs the sum reads the others' values itself.
"""

from __future__ import annotations

import os
import select
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

Add = Callable[[Tensor], None]
"""Makes a tensor the sum of all processes' tensors of this shape."""
HELD = 2**17
"""Bytes that a socket holds until they are read: some systems take no more than 8 KiB unless asked."""
SPIN = 0.002
"""Seconds in which a process looks for the others' values again and again before it sleeps until they come."""


def by_backend(values: Tensor) -> None:
    """Add up `values` of any shape by gloo or NCCL, wherever the processes are."""
    dist.all_reduce(values)


@contextmanager
def by_sockets(rank: int, size: int, patience: float) -> Iterator[Add]:
    """Connect `size` processes of this host and yield what adds up float64 tensors (N,) of the CPU.

    All get the same sum to the last bit. A tensor should stay below `HELD`, since all send before they read.

    Raises:
        RuntimeError: in the block, another process closed its connection, or did not answer for `patience` seconds.
    """
    with ExitStack() as kept:
        peers = _connected(rank, size, kept)

        def add(values: Tensor) -> None:
            own = _bytes(values)
            received = torch.empty(size, *values.shape, dtype=values.dtype)
            received[rank] = values
            try:
                for peer in peers.values():
                    peer.sendall(own)
                for other, peer in peers.items():
                    _receive(peer, _bytes(received[other]), patience)
            except ConnectionError:
                raise RuntimeError("connection closed by another process") from None
            torch.sum(received, dim=0, out=values)

        yield add


def _connected(rank: int, size: int, kept: ExitStack) -> dict[int, socket.socket]:
    """Return a socket to each other process, by rank: it listens for those after it."""
    place = [tempfile.mkdtemp(prefix="whaleid-") if rank == 0 else ""]
    dist.broadcast_object_list(place, src=0)
    folder = Path(place[0])
    peers: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / str(rank)))
        listener.listen(size)
        dist.barrier()  # all listen
        for other in range(rank):
            peer = kept.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(str(folder / str(other)))
            peer.sendall(rank.to_bytes(4, "big"))
            peers[other] = peer
        for _ in range(rank + 1, size):
            peer = kept.enter_context(listener.accept()[0])
            peers[int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "big")] = peer
        (folder / str(rank)).unlink()
    for peer in peers.values():
        for direction in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            peer.setsockopt(socket.SOL_SOCKET, direction, HELD)
    dist.barrier()  # all are connected
    if rank == 0:
        folder.rmdir()
    return dict(sorted(peers.items()))


def _bytes(values: Tensor) -> memoryview:
    return values.numpy().data.cast("B")


def _receive(peer: socket.socket, buffer: memoryview, patience: float) -> None:
    started = time.perf_counter()
    while buffer:
        try:
            count = peer.recv_into(buffer, flags=socket.MSG_DONTWAIT)
        except BlockingIOError:
            waited = time.perf_counter() - started
            if waited < SPIN:
                os.sched_yield()
            elif not select.select([peer], [], [], max(0.0, patience - waited))[0]:
                raise RuntimeError("timed out waiting for another process") from None
            continue
        if not count:
            raise ConnectionError
        buffer = buffer[count:]
