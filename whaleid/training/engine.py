"""The training loop, from the first line to the last: one cycle of AdamW over augmented photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whaleid.images.augment import augment
from whaleid.model.folding import fold
from whaleid.model.losses import build
from whaleid.model.network import Network, standardise
from whaleid.progress import progress
from whaleid.training.embedding import embed
from whaleid.training.sampler import batches, deal, steps, views

if TYPE_CHECKING:
    from whaleid.params import Variant
    from whaleid.record import LogEpoch

RISE = 0.21
"""The share of the steps in which the rate rises; at exactly 0.2, torch divides by zero where there are five steps."""
LAST = 10.0
"""How much higher the last layer's rate is: a whale with one photo pulls at its class in one step of an epoch only."""
SETTLED, SETTLING = 64, 20
"""Photos at a time, and how often: so many bring the statistics of batch norms to where they belong."""
AROUND = 0.3
"""How far the centres of a class lie from its mean at first, where it has several."""
FULL_MARGIN = 0.5
"""The share of the steps after which a loss asks for all of its margin: at once, it would keep it from learning."""


@dataclass(frozen=True)
class Photos:
    """Photos and what is on them: `rows` (P,) of the packed array, `classes` (P,) of the variant's classes."""

    rows: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch: those of learning are the same on every run, those of speed are the machine's."""

    learning: dict[str, float]  # loss (nats), accuracy, validation_loss, validation_accuracy, rate
    # photos_per_second; network_share of the time, the rest is loading (on a GPU, which works meanwhile, a lower bound)
    speed: dict[str, float]


@dataclass(frozen=True)
class Memory:
    """Where training is remembered from epoch to epoch, to go on after it was killed."""

    last: Mapping[str, Any] | None  # what was kept last, of this very training
    keep: Callable[[Mapping[str, Any]], None]  # takes tensors and plain values, which training will change: write them


@dataclass
class _State:
    """All that the rest of a training depends on, between two epochs."""

    network: Network
    optimiser: torch.optim.Optimizer
    cycle: torch.optim.lr_scheduler.OneCycleLR
    order: np.random.Generator  # of photos
    draws: torch.Generator  # of their augmentation; on the CPU, so that every device sees the same
    epochs: list[Epoch]

    @classmethod
    def new(cls, network: Network, settings: Variant, total: int, seed: int) -> _State:
        # decay pulls weights towards zero; the shifts and scales of normalisation layers are not to be pulled
        hidden = [weight for weight in network.hidden.parameters() if weight.requires_grad]
        optimiser = torch.optim.AdamW(
            [
                {"params": [weight for weight in hidden if weight.ndim > 1], "weight_decay": settings.decay},
                {"params": [weight for weight in hidden if weight.ndim <= 1], "weight_decay": 0.0},
                {"params": [network.last.weight], "weight_decay": settings.decay},
            ],
            fused=True,  # one pass over the weights: a quarter of the time
        )
        rates = [settings.rate, settings.rate, settings.rate * LAST]
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=total, pct_start=RISE)
        return cls(network, optimiser, cycle, np.random.default_rng(seed), torch.Generator().manual_seed(seed), [])

    def kept(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name).state_dict() for name in ("network", "optimiser", "cycle")},
            "order": self.order.bit_generator.state,
            "draws": self.draws.get_state(),
            "layers": _generators(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
        }

    def recall(self, kept: Mapping[str, Any]) -> None:
        for name in ("network", "optimiser", "cycle"):
            getattr(self, name).load_state_dict(kept[name])
        self.order.bit_generator.state = kept["order"]
        self.draws.set_state(kept["draws"])
        torch.set_rng_state(kept["layers"]["cpu"])
        if "cuda" in kept["layers"]:
            torch.cuda.set_rng_state(kept["layers"]["cuda"])
        self.epochs = [Epoch(**epoch) for epoch in kept["epochs"]]


def _generators() -> dict[str, Tensor]:
    """Return the state of torch's own generators, from which layers such as dropout draw."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def train(
    network: Network,
    packed: npt.NDArray[np.uint8],
    learn: Photos,
    check: Photos,
    settings: Variant,
    seed: int,
    device: torch.device,
    log_epoch: LogEpoch,
    memory: Memory,
) -> list[Epoch]:
    """Train `network` in place.

    Args:
        network: on any device; left on `device`, in evaluation mode. Its last layer has the classes of `learn` or,
            where a mirrored fluke is another whale, those and then as many mirrored ones.
        packed: (N, H, W, C), of which `learn` and `check` name rows.
        learn: photos to learn from.
        check: photos of the same classes that are only measured, after each epoch; may be none.
        settings: which layers are trained, by which loss, on which views of which photos, for how many epochs.
        seed: of the order of photos and of their augmentation.
        device: where to compute.
        log_epoch: called after each epoch with its figures; first, for epochs that are remembered.
        memory: training that was killed goes on from its last whole epoch, on the CPU to the same result.

    Returns:
        An `Epoch` for each epoch.

    Raises:
        WhaleidError: `layers` is `upper`, and the backbone has no first layers to keep.
    """
    network.to(device).to(memory_format=torch.channels_last)
    still: list[nn.Module] = []
    if settings.layers != "all":
        still = network.backbone.early() if settings.layers == "upper" else [network.hidden]
    if settings.layers != "last" and not memory.last:
        _settle(network, packed, learn, seed, device)
    network.freeze(still)
    loss_of = build(settings.loss, network.last)
    shown = views(learn.classes, settings.min_views, settings.per_whale, np.random.default_rng(seed)).size
    rows_a_batch = settings.batch // settings.per_whale
    total = settings.epochs * steps(shown // settings.per_whale, rows_a_batch)
    state = _State.new(network, settings, total, seed)
    optimiser, cycle = state.optimiser, state.cycle
    # half precision where the hardware is made for it; on the CPU every machine computes alike
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if memory.last:
        state.recall(memory.last)
        for number, epoch in enumerate(state.epochs, start=1):
            log_epoch(number, epoch.learning | epoch.speed)
    else:
        _imprint(network, packed, learn, device, seed)
    for number in range(len(state.epochs) + 1, settings.epochs + 1):
        network.train()
        unfold = fold(network.backbone.body, network.backbone.norms(still))
        loss_sum = torch.zeros((), device=device)
        right = torch.zeros((), device=device)
        loading, started = 0.0, time.perf_counter()
        rate = float(cycle.get_last_lr()[0])
        rows = views(learn.classes, settings.min_views, settings.per_whale, state.order)
        if settings.per_whale == 1:
            chosen = batches(rows, rows_a_batch, state.order)
        else:
            chosen = deal(rows, learn.classes, rows_a_batch, state.order)
        for batch in progress(chosen, f"epoch {number} of {settings.epochs}", len(chosen)):
            loaded = time.perf_counter()
            photos = torch.from_numpy(packed[learn.rows[batch.reshape(-1)]]).to(device, non_blocking=True)  # uint8
            classes = torch.from_numpy(learn.classes[batch]).to(device, non_blocking=True)  # (P, K)
            inputs, targets = _show(standardise(photos), classes, settings, network.last.classes, state.draws)
            loading += time.perf_counter() - loaded
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                embeddings = network(inputs)  # (B, D)
            with torch.no_grad():
                right += (network.last(embeddings).argmax(dim=1) == targets).sum()
            loss = loss_of(embeddings, targets, min(1.0, cycle.last_epoch / (FULL_MARGIN * total)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            cycle.step()
            loss_sum += loss.detach() * batch.size
        unfold()
        learning: dict[str, float] = {"rate": rate, "loss": loss_sum.item() / shown}
        if settings.loss.kind != "triplet":  # which has no classes before it has ended
            learning["accuracy"] = right.item() / shown
        seconds = time.perf_counter() - started
        speed = {"photos_per_second": shown / seconds, "network_share": 1 - loading / seconds}
        if settings.loss.kind != "triplet":
            learning |= _check(network, packed, check, settings, device)
        state.epochs.append(Epoch(learning, speed))
        log_epoch(number, learning | speed)
        said = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in learning.items() if name != "rate")
        print(f"epoch {number} of {settings.epochs}: {said}, {speed['photos_per_second']:.0f} photos/s", flush=True)
        if number < settings.epochs:
            memory.keep(state.kept())
    if settings.loss.kind == "triplet":
        _imprint(network, packed, learn, device, seed)
    network.eval()
    return state.epochs


def _show(
    photos: Tensor, classes: Tensor, settings: Variant, columns: int, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return what the network sees of `photos` (B, C, H, W) and the columns (B,) of what is on them.

    `classes` is (P, K), B = P * K. Photos that are together are mirrored together.
    """
    if settings.flip != "off":
        mirrored = (torch.rand(len(classes), 1, generator=draws) < 0.5).to(photos.device).expand_as(classes)
        photos = torch.where(mirrored.reshape(-1, 1, 1, 1), photos.flip(3), photos)
        if settings.flip == "identity":
            classes = classes + mirrored * (columns // 2)
    return augment(photos, draws) if settings.augment else photos, classes.reshape(-1)


def _check(
    network: Network, packed: npt.NDArray[np.uint8], check: Photos, settings: Variant, device: torch.device
) -> dict[str, float]:
    if not len(check.rows):
        return {}
    embeddings = torch.from_numpy(embed(network, packed, check.rows, device, mirrored=False)[0]).to(device)
    with torch.no_grad():
        cosines = network.last(embeddings)
    if settings.flip == "identity":
        cosines = cosines[:, : network.last.classes // 2]
    classes = torch.from_numpy(check.classes).to(device)
    return {
        "validation_loss": F.cross_entropy(settings.loss.scale * cosines, classes).item(),
        "validation_accuracy": (cosines.argmax(dim=1) == classes).double().mean().item(),
    }


def _settle(network: Network, packed: npt.NDArray[np.uint8], learn: Photos, seed: int, device: torch.device) -> None:
    """Show some photos, so that the statistics of batch norms are those of embeddings that are about to be used."""
    network.train()
    chosen = batches(learn.rows, SETTLED, np.random.default_rng(seed))[:SETTLING]
    with torch.no_grad():
        for rows in chosen:
            network(standardise(torch.from_numpy(packed[rows]).to(device)))


def _imprint(network: Network, packed: npt.NDArray[np.uint8], learn: Photos, device: torch.device, seed: int) -> None:
    """Make each class of the last layer the mean of its photos' embeddings.

    Qi et al. 2018, "Low-Shot Learning with Imprinted Weights". Several centres of a class lie around it.
    """
    last, classes = network.last, int(learn.classes.max()) + 1
    views = embed(network, packed, learn.rows, device, mirrored=last.classes > classes)  # (V, P, D)
    sums = np.zeros((last.classes, network.embedding), dtype=np.float32)
    for view, embeddings in enumerate(views):
        np.add.at(sums, learn.classes + view * classes, embeddings)
    means = F.normalize(torch.from_numpy(sums)).repeat_interleave(last.centres, dim=0)  # (C * S, D)
    if last.centres > 1:
        around = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed))
        means += AROUND * F.normalize(around)
    with torch.no_grad():
        last.weight.copy_(means.T)
