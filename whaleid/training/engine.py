"""The training loop, from the first line to the last: one cycle of AdamW over augmented photos."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from whaleid.images.augment import augment
from whaleid.model.network import Network, standardise
from whaleid.progress import progress
from whaleid.training.embedding import embed
from whaleid.training.sampler import batches, steps

if TYPE_CHECKING:
    from whaleid.params import Variant
    from whaleid.record import LogEpoch


@dataclass(frozen=True)
class Photos:
    """Photos and what is on them: `rows` (P,) of the packed array, `classes` (P,) of the network's classes."""

    rows: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch: those of learning are the same on every run, those of speed are the machine's."""

    learning: dict[str, float]  # loss (nats), accuracy, validation_loss, validation_accuracy, rate
    # photos_per_second; network_share of the time, the rest is loading (on a GPU, which works meanwhile, a lower bound)
    speed: dict[str, float]


def train(
    network: Network,
    packed: npt.NDArray[np.uint8],
    learn: Photos,
    check: Photos,
    settings: Variant,
    seed: int,
    device: torch.device,
    log_epoch: LogEpoch,
) -> list[Epoch]:
    """Train `network` in place.

    Args:
        network: on any device; left on `device`, in evaluation mode.
        packed: (N, H, W, C), of which `learn` and `check` name rows.
        learn: photos to learn from.
        check: photos of the same classes that are only measured, after each epoch; may be none.
        settings: which layers are trained, for how many epochs, in which batches, at which rate and decay.
        seed: of the order of photos and of their augmentation.
        device: where to compute.
        log_epoch: called after each epoch with its figures.

    Returns:
        An `Epoch` for each epoch.
    """
    order, draws = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    network.to(device).to(memory_format=torch.channels_last)
    if settings.layers == "last":
        network.freeze_hidden()
    # decay pulls weights towards zero; the shifts and scales of normalisation layers are not to be pulled
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": settings.decay},
            {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=settings.rate,
    )
    total = settings.epochs * steps(len(learn.rows), settings.batch)
    # a fifth of the steps up, the rest down; at exactly 0.2, torch divides by zero where there are five steps
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=settings.rate, total_steps=total, pct_start=0.21)
    # half precision where the hardware is made for it; on the CPU every machine computes alike
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    epochs = []
    for number in range(1, settings.epochs + 1):
        network.train()
        loss_sum = torch.zeros((), device=device)
        right = torch.zeros((), device=device)
        loading, started = 0.0, time.perf_counter()
        rate = float(cycle.get_last_lr()[0])
        chosen = batches(len(learn.rows), settings.batch, order)
        for batch in progress(chosen, f"epoch {number} of {settings.epochs}", steps(len(learn.rows), settings.batch)):
            loaded = time.perf_counter()
            photos = torch.from_numpy(packed[learn.rows[batch]]).to(device, non_blocking=True)  # (B, H, W, C) uint8
            classes = torch.from_numpy(learn.classes[batch]).to(device, non_blocking=True)  # (B,)
            views = augment(standardise(photos), draws)  # (B, C, H, W)
            loading += time.perf_counter() - loaded
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                _, logits = network(views)  # (B, classes)
            loss = F.cross_entropy(logits.float(), classes)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            cycle.step()
            loss_sum += loss.detach() * len(batch)
            right += (logits.argmax(dim=1) == classes).sum()
        learning: dict[str, float] = {
            "rate": rate,
            "loss": loss_sum.item() / len(learn.rows),
            "accuracy": right.item() / len(learn.rows),
        }
        seconds = time.perf_counter() - started
        speed = {"photos_per_second": len(learn.rows) / seconds, "network_share": 1 - loading / seconds}
        learning |= _check(network, packed, check, device)
        epochs.append(Epoch(learning, speed))
        log_epoch(number, learning | speed)
        said = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in learning.items() if name != "rate")
        print(
            f"epoch {number} of {settings.epochs}: {said}, {speed['photos_per_second']:.0f} photos/s",
            flush=True,
        )
    network.eval()
    return epochs


def _check(network: Network, packed: npt.NDArray[np.uint8], check: Photos, device: torch.device) -> dict[str, float]:
    if not len(check.rows):
        return {}
    embeddings = torch.from_numpy(embed(network, packed, check.rows, device)).to(device)
    with torch.no_grad():
        logits = network.last(embeddings)
    classes = torch.from_numpy(check.classes).to(device)
    return {
        "validation_loss": F.cross_entropy(logits, classes).item(),
        "validation_accuracy": (logits.argmax(dim=1) == classes).double().mean().item(),
    }
