"""Photos from the packed array to the device, ahead of the step that needs them."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
AHEAD = 2
"""Batches that are fetched while one is computed."""


def fetched(
    fetch: Callable[[T], Sequence[Tensor]], batches: Sequence[T], device: torch.device
) -> Iterator[list[Tensor]]:
    """Yield what `fetch` returns of each batch, on `device`: the next ones are fetched, in order, by a thread.

    On a GPU, they are copied from pinned memory while it computes.
    """
    gpu = device.type == "cuda"
    stream = torch.cuda.Stream(device) if gpu else None  # type: ignore[no-untyped-call]

    def begin() -> None:
        if gpu:  # else a thread begins on the first one, whichever is its process's own
            torch.cuda.set_device(device)

    def bring(batch: T) -> tuple[list[Tensor], torch.cuda.Event | None]:
        tensors = fetch(batch)
        if stream is None:
            return list(tensors), None
        with torch.cuda.stream(stream):
            there = [tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors]
            return there, stream.record_event()

    waiting: deque[Future[tuple[list[Tensor], torch.cuda.Event | None]]] = deque()
    with ThreadPoolExecutor(1, "fetch", initializer=begin) as reader:
        try:
            for batch in batches:
                waiting.append(reader.submit(bring, batch))
                if len(waiting) > AHEAD:
                    yield _arrived(waiting.popleft(), device)
            while waiting:
                yield _arrived(waiting.popleft(), device)
        finally:  # also where the step fails: nothing is fetched for nobody
            for future in waiting:
                future.cancel()


def _arrived(future: "Future[tuple[list[Tensor], torch.cuda.Event | None]]", device: torch.device) -> list[Tensor]:
    tensors, event = future.result()
    if event is not None:
        now = torch.cuda.current_stream(device)
        now.wait_event(event)
        for tensor in tensors:  # whose memory is another stream's: not to be given away before this one is done
            tensor.record_stream(now)
    return tensors
