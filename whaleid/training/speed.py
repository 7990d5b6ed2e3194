"""How a training computes: in half precision, and compiled, where a short measurement finds them faster."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from whaleid.core.switches import switched_on
from whaleid.model.network import Network
from whaleid.training.distributed import World

MINUTES = 5
"""A training that lasts less is not compiled: compiling takes about one, and saves a part."""
Look = Callable[[Tensor], Tensor]
"""From photos (B, C, H, W) to embeddings (B, D)."""
STEPS = 5
"""Of each kind that are timed."""


@dataclass(frozen=True)
class Speed:
    """How a training computes. As it stands: as every CPU computes, in float32."""

    half: bool = False  # bfloat16, but for losses, norms and what else needs float32
    compiled: bool = False

    def __str__(self) -> str:
        return f"{'bfloat16' if self.half else 'float32'}{', compiled' if self.compiled else ''}"


def wanted(device: torch.device) -> bool:
    """Tell whether to look for what is faster: on a GPU always, on a CPU where `WHALEID_FAST` is `on`.

    What is faster rounds otherwise, so that results differ in the last digits, and with the machine.

    Raises:
        WhaleidError: WHALEID_FAST is neither `on` nor `off`.
    """
    asked = switched_on("WHALEID_FAST", default="off")
    return device.type != "cpu" or asked


def choose(network: Network, photos: Tensor, steps: int, world: World) -> Speed:
    """Return what is fastest for `steps` steps on batches like `photos` (B, C, H, W), and print what was measured.

    A copy of `network` is measured; it is left as it is. Of several processes, the first decides, and nothing is
    compiled: what they exchange in between would cut the code to pieces.
    """
    return world.shared(_chosen(network, photos, steps, world) if world.first else Speed())


def _chosen(network: Network, photos: Tensor, steps: int, world: World) -> Speed:
    device = photos.device
    probe = copy.deepcopy(network)
    plain = _seconds(_step(probe, probe, photos, half=False), device)
    halved = _seconds(_step(probe, probe, photos, half=True), device)
    half, best = halved < plain, min(plain, halved)
    said = f"speed: a step takes {1000 * plain:.0f} ms in float32, {1000 * halved:.0f} ms in bfloat16"
    if world.size > 1:
        print(f"{said}; not compiled: {world.size} processes", flush=True)
        return Speed(half)
    if best * steps < 60 * MINUTES:
        print(f"{said}; not compiled: {steps:,} steps take {best * steps:.0f} s", flush=True)
        return Speed(half)
    started = time.perf_counter()
    try:
        step = _step(probe, compiled(probe), photos, half)
        step()
        spent = time.perf_counter() - started
        faster = _seconds(step, device)
    except Exception as error:  # by what is missing on a machine, its parts raise nearly anything
        reason = str(error).strip().split("\n")[0]
        print(f"{said}; torch.compile does not work here ({reason})", flush=True)
        return Speed(half)
    pays = (best - faster) * steps > spent
    taken = "taken" if pays else "not taken"
    print(f"{said}, {1000 * faster:.0f} ms compiled, which takes {spent:.0f} s: {taken}", flush=True)
    return Speed(half, pays)


def compiled(network: Look) -> Look:
    """Return what computes as `network` does, compiled at its first step: for each size of batch anew."""
    return torch.compile(network, dynamic=False)


def _step(probe: Network, look: Look, photos: Tensor, half: bool) -> Callable[[], None]:
    def step() -> None:
        with torch.autocast(photos.device.type, torch.bfloat16, enabled=half):
            embeddings = look(photos)
        probe.zero_grad(set_to_none=True)
        (embeddings * embeddings.detach().roll(1, 0)).sum().backward()  # type: ignore[no-untyped-call]

    return step


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    """Return the median of some steps, after one that does not count."""
    times = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return median(times[1:])
