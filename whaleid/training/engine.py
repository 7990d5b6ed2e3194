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
from torch import nn

from whaleid.core.errors import WhaleidError
from whaleid.core.log import progress
from whaleid.model.losses import build
from whaleid.model.network import Network, standardise
from whaleid.training import norms
from whaleid.training import speed as speeds
from whaleid.training.distributed import ALONE, World
from whaleid.training.embedding import embed
from whaleid.training.sampler import batches, deal, steps, views
from whaleid.training.showing import Photos, Show

if TYPE_CHECKING:
    from whaleid.config import Training
    from whaleid.core.record import LogEpoch

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
class Epoch:
    """The figures of one epoch: those of learning are the same on every run, those of speed are the machine's."""

    learning: dict[str, float]  # loss (nats), accuracy, validation_loss, validation_accuracy, lr
    # epoch_seconds; photos_per_second; network_share of the time, the rest is waiting for photos and changing them (on
    # a GPU, which works meanwhile, a lower bound)
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
    epochs: list[Epoch]

    @classmethod
    def new(cls, network: Network, settings: Training, total: int) -> _State:
        # decay pulls weights towards zero; the shifts and scales of normalisation layers are not to be pulled
        hidden = [weight for weight in network.embedder.parameters() if weight.requires_grad]
        optimiser = torch.optim.AdamW(
            [
                {"params": [weight for weight in hidden if weight.ndim > 1], "weight_decay": settings.weight_decay},
                {"params": [weight for weight in hidden if weight.ndim <= 1], "weight_decay": 0.0},
                {"params": [network.classifier.weight], "weight_decay": settings.weight_decay},
            ],
            fused=True,  # one pass over the weights: a quarter of the time
        )
        rates = [settings.lr, settings.lr, settings.lr * LAST]
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=total, pct_start=RISE)
        return cls(network, optimiser, cycle, [])

    def kept(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name).state_dict() for name in ("network", "optimiser", "cycle")},
            "epochs": [asdict(epoch) for epoch in self.epochs],
        }

    def recall(self, kept: Mapping[str, Any]) -> None:
        for name in ("network", "optimiser", "cycle"):
            getattr(self, name).load_state_dict(kept[name])
        self.epochs = [Epoch(**epoch) for epoch in kept["epochs"]]


def train(
    network: Network,
    packed: npt.NDArray[np.uint8],
    learn: Photos,
    check: Photos,
    settings: Training,
    seed: int,
    device: torch.device,
    log_epoch: LogEpoch,
    memory: Memory,
    world: World = ALONE,
) -> tuple[list[Epoch], speeds.Speed]:
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
        world: the processes that train together; each is given, and left, the same.

    Returns:
        An `Epoch` for each epoch, and how they were computed.

    Raises:
        WhaleidError: `layers` is `upper`, and the backbone has no first layers to keep; or there are more processes
            than photos in a batch.
    """
    network.to(device).to(memory_format=torch.channels_last)
    still: list[nn.Module] = []
    if settings.layers != "all":
        still = network.backbone.early() if settings.layers == "upper" else [network.embedder]
    if settings.layers != "last" and not memory.last:
        _settle(network, packed, learn, seed, device)
    network.freeze(still)
    classified = settings.loss.kind != "triplet"  # which has no classes before it has ended
    network.classifier.requires_grad_(classified)
    loss_of = build(settings.loss, network.classifier)
    shown = views(learn.classes, settings.oversample, settings.per_whale, np.random.default_rng(seed)).size
    rows_a_batch = settings.batch_size // settings.per_whale
    an_epoch = steps(shown // settings.per_whale, rows_a_batch)
    total = settings.epochs * an_epoch
    smallest = shown // settings.per_whale // an_epoch * settings.per_whale
    if smallest < (needed := world.size if world.same_norms else 2 * world.size):
        raise WhaleidError(
            f"{world.size} processes need {needed} photos in a batch, but there are batches of {smallest}: start fewer "
            "processes, or raise `batch_size`."
        )
    state = _State.new(network, settings, total)
    optimiser, cycle = state.optimiser, state.cycle
    if memory.last:
        state.recall(memory.last)
        for number, epoch in enumerate(state.epochs, start=1):
            log_epoch(number, epoch.learning | epoch.speed)
    else:
        _imprint(network, packed, learn, device, seed, world)
    known = checked = None
    if settings.layers == "last":  # all below it stands still: what is computed once is good for every epoch
        if len(check.rows):
            checked = embed(network, packed, check.rows, device, False, world=world)[0]
        if not settings.augment:  # and so do the photos, from which each process then learns all
            found = embed(network, packed, learn.rows, device, settings.flip != "off", world=world)
            known, world = torch.from_numpy(found).to(device), ALONE  # (V, P, D)
    show = Show(learn, settings, network.classifier.classes, device, world)
    speed = speeds.Speed()
    if speeds.wanted(device) and known is None:
        own = world.part(settings.batch_size)
        some = np.resize(learn.rows, max(2, own.stop - own.start))  # of one photo, norms could say nothing
        network.train()
        photos = standardise(torch.from_numpy(packed[some]).to(device))
        speed = speeds.choose(network, photos, total - len(state.epochs) * an_epoch, world)
    if world.size > 1 and world.same_norms:
        norms.synchronise(network, world.add)
    seen: speeds.Look = world.wrapped(network)
    if speed.compiled:
        seen = speeds.compiled(seen)
    for number in range(len(state.epochs) + 1, settings.epochs + 1):
        order, draws = _generators(seed, number, world.rank)
        rows = views(learn.classes, settings.oversample, settings.per_whale, order)
        if settings.per_whale == 1:
            chosen = batches(rows, rows_a_batch, order)
        else:
            chosen = deal(rows, learn.classes, rows_a_batch, order)
        sights = show.photos(packed, chosen, draws) if known is None else show.embeddings(known, chosen, draws)
        loss_sum, right = torch.zeros(2, device=device).unbind()
        lr = float(cycle.get_last_lr()[0])
        network.train()
        waited, started = 0.0, time.perf_counter()
        ended = started
        for sight, columns in progress(sights, f"epoch {number} of {settings.epochs}", len(chosen)):
            waited += time.perf_counter() - ended
            embeddings = sight  # (B, D), of all processes
            if known is None:
                with torch.autocast(device.type, torch.bfloat16, enabled=speed.half):
                    embeddings = world.gathered(seen(sight), len(columns))
            with torch.no_grad():
                right += (network.classifier(embeddings).argmax(dim=1) == columns).sum()
            loss = loss_of(embeddings, columns, min(1.0, cycle.last_epoch / (FULL_MARGIN * total)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            cycle.step()
            loss_sum += loss.detach() * len(columns)
            ended = time.perf_counter()
        world.level(network)
        learning: dict[str, float] = {"lr": lr, "loss": loss_sum.item() / shown}
        if classified:
            learning["accuracy"] = right.item() / shown
        seconds = time.perf_counter() - started
        figures = {
            "epoch_seconds": seconds,
            "photos_per_second": shown / seconds,
            "network_share": 1 - waited / seconds,
        }
        if classified and len(check.rows):
            now = embed(network, packed, check.rows, device, False, world=world)[0] if checked is None else checked
            learning |= _check(network, now, check, settings)
        state.epochs.append(Epoch(learning, figures))
        log_epoch(number, learning | figures)
        said = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in learning.items() if name != "lr")
        print(f"epoch {number} of {settings.epochs}: {said}, {shown / seconds:.0f} photos/s", flush=True)
        if number < settings.epochs:
            memory.keep(state.kept())
    if not classified:
        _imprint(network, packed, learn, device, seed, world)
    network.eval()
    return state.epochs, speed


def _generators(seed: int, epoch: int, rank: int) -> tuple[np.random.Generator, torch.Generator]:
    """Return what draws the order of photos and, on the CPU, their augmentation: in every process alike.

    Layers that draw, such as dropout, do so in each process on their own.
    """
    order, draws, layers = np.random.SeedSequence([seed, epoch]).spawn(3)
    torch.manual_seed(int(layers.spawn(rank + 1)[rank].generate_state(1, np.uint64)[0] >> 1))
    return np.random.default_rng(order), torch.Generator().manual_seed(int(draws.generate_state(1, np.uint64)[0] >> 1))


def _check(
    network: Network, embeddings: npt.NDArray[np.float32], check: Photos, settings: Training
) -> dict[str, float]:
    device = network.classifier.weight.device
    with torch.no_grad():
        cosines = network.classifier(torch.from_numpy(embeddings).to(device))
    if settings.flip == "identity":
        cosines = cosines[:, : network.classifier.classes // 2]
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


def _imprint(
    network: Network, packed: npt.NDArray[np.uint8], learn: Photos, device: torch.device, seed: int, world: World
) -> None:
    """Make each class of the last layer the mean of its photos' embeddings.

    Qi et al. 2018, "Low-Shot Learning with Imprinted Weights". Several centres of a class lie around it.
    """
    last, classes = network.classifier, int(learn.classes.max()) + 1
    views = embed(network, packed, learn.rows, device, last.classes > classes, world=world)  # (V, P, D)
    sums = np.zeros((last.classes, network.embedding), dtype=np.float32)
    for view, embeddings in enumerate(views):
        np.add.at(sums, learn.classes + view * classes, embeddings)
    means = F.normalize(torch.from_numpy(sums)).repeat_interleave(last.centres, dim=0)  # (C * S, D)
    if last.centres > 1:
        around = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed))
        means += AROUND * F.normalize(around)
    with torch.no_grad():
        last.weight.copy_(means.T)
