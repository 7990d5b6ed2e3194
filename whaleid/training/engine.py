"""The training loop: one cycle of AdamW over augmented photos."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch._dynamo  # AdamW imports it at its first step, whose time is measured
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from whaleid.core.errors import WhaleidError
from whaleid.core.log import progress
from whaleid.model.batches import shuffled_batches
from whaleid.model.device import precision
from whaleid.model.distributed import ALONE, ProcessGroup
from whaleid.model.embedding import embed
from whaleid.model.losses import LossFunction, build
from whaleid.model.network import Network, standardise
from whaleid.training.loader import BatchLoader, LabelledPhotos
from whaleid.training.sampler import Rows, sample_batches
from whaleid.training.state import Epoch, State, restore, snapshot

if TYPE_CHECKING:
    from whaleid.config import Training

WARM_UP = 0.21
"""The share of the steps in which the rate rises; at exactly 0.2, torch divides by zero where there are five steps."""
LAST_LAYER_LR = 10.0
"""How much higher the last layer's rate is: a whale with one photo pulls at its class in one step of an epoch only."""
MARGIN_WARM_UP = 0.5
"""The share of the steps in which the margin grows to its full size: at once, it would keep a loss from learning."""
BN_BATCH, BN_BATCHES = 64, 20
"""Photos and batches that bring the running statistics of batch norms to where they belong."""
CENTRE_SPREAD = 0.3
"""How far the centres of a class lie from its mean at first, where it has several."""


def train(
    network: Network,
    train_set: LabelledPhotos,
    val_set: LabelledPhotos,
    settings: Training,
    seed: int,
    saved: State | None = None,
    processes: ProcessGroup = ALONE,
) -> Iterator[State]:
    """Train `network` in place; yield the state after each epoch, whose tensors later epochs change.

    Args:
        network: left on the device of `processes`, in evaluation mode. Its last layer has the classes of `train_set`
            or, where a mirrored fluke is another whale, those and then as many mirrored ones.
        train_set: photos to learn from.
        val_set: photos of the same classes that are measured after each epoch; may be empty.
        settings: which layers are trained, by which loss, on which photos, for how many epochs.
        seed: of the order of photos and of their augmentation.
        saved: the state from which this training resumes, on the CPU to the same result.
        processes: which train together; all are given, and left, the same.

    Raises:
        WhaleidError: `layers` is `upper`, and the backbone has no first layers to keep; or the parts of a batch are too
            small for so many processes.
    """
    network.to(processes.device).to(memory_format=torch.channels_last)
    if settings.layers == "last":
        network.freeze([network.embedder])
    else:
        _update_bn_stats(network, train_set, seed)
    if settings.layers == "upper":
        network.freeze(network.backbone.early())
    classified = settings.loss.kind != "triplet"  # it has no classes before its end
    network.classifier.requires_grad_(classified)
    loss_of = build(settings.loss, network.classifier)

    # where the other layers stand still, they embed each photo once, and every process learns from all embeddings
    embeds_once = settings.layers == "last" and not settings.augment
    sharing = ProcessGroup(processes.device) if embeds_once else processes
    # every epoch has as many batches of the same sizes
    batches = sample_batches(train_set.classes, settings, np.random.default_rng(seed))
    _check_parts(min(len(batch) for batch in batches), settings, sharing)
    optimiser, schedule = _optimiser(network, settings, settings.epochs * len(batches))
    epochs = list(saved.epochs) if saved else []
    if saved:
        restore(network, optimiser, saved.tensors)
        _fast_forward(schedule, len(epochs) * len(batches))
    else:
        _imprint(network, train_set, seed, processes)

    model: Callable[[Tensor], Tensor] = sharing.wrap(network)
    if settings.compile:
        model = torch.compile(model, dynamic=False)
    train_embeddings = None
    if embeds_once:
        model, train_embeddings = nn.Identity(), _embeddings(network, train_set, settings.flip != "off")
    loader = BatchLoader(train_set, train_embeddings, settings, sharing)
    own_val_set, val_embeddings = val_set.part(sharing.part(len(val_set))), None

    for number in range(len(epochs) + 1, settings.epochs + 1):
        started = time.perf_counter()
        order, draws = _generators(seed, number, sharing.rank)
        batches = sample_batches(train_set.classes, settings, order)
        photos = sum(batch.size for batch in batches)
        learning = {"lr": float(schedule.get_last_lr()[0])}
        watched = progress(batches, f"epoch {number} of {settings.epochs}", len(batches))
        sums = _train_epoch(network, model, loader, watched, draws, loss_of, optimiser, schedule)
        sharing.broadcast_buffers(network)
        loss, correct = sharing.sum(sums).tolist()  # waits for a GPU
        seconds = time.perf_counter() - started

        learning["loss"] = loss / photos
        if classified:
            learning["accuracy"] = correct / photos
        if classified and len(val_set):
            if val_embeddings is None or settings.layers != "last":  # else they stand still
                val_embeddings = _embeddings(network, own_val_set, mirrored=False)[0]
            loss, correct = sharing.sum(_validation_sums(network, val_embeddings, own_val_set, settings)).tolist()
            learning["validation_loss"] = loss / len(val_set)
            learning["validation_accuracy"] = correct / len(val_set)
        epochs.append(Epoch(learning, {"epoch_seconds": seconds, "photos_per_second": photos / seconds}))
        yield State([*epochs], snapshot(network, optimiser))
    if not classified:
        _imprint(network, train_set, seed, processes)
    network.eval()


def _train_epoch(
    network: Network,
    model: Callable[[Tensor], Tensor],
    loader: BatchLoader,
    batches: Iterable[Rows],
    draws: torch.Generator,
    loss_of: LossFunction,
    optimiser: torch.optim.Optimizer,
    schedule: OneCycleLR,
) -> Tensor:
    """Train for one epoch; return (2,): this process's sums of the loss and of the photos whose class is right.

    `model` maps what `loader` loads to embeddings: `network` as it is wrapped and compiled, or nothing to compute.
    """
    processes = loader.processes
    device, margin_steps = processes.device, MARGIN_WARM_UP * schedule.total_steps
    half = precision(device) == torch.bfloat16
    sums = torch.zeros(2, device=device)
    network.train()
    for batch in batches:
        inputs, columns = loader.load(batch, draws)  # this process's part: (B, C, H, W) or (B, D), and (B,)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            embeddings = model(inputs)  # (B, D)
        loss = loss_of(embeddings, columns, min(1.0, schedule.last_epoch / margin_steps))
        with torch.no_grad():
            correct = (network.classifier(embeddings).argmax(dim=1) == columns).sum()
            sums += torch.stack([loss * len(columns), correct])
        optimiser.zero_grad(set_to_none=True)
        # DDP takes the mean over processes, whose parts may differ by a row
        (loss * (len(columns) * processes.size / batch.size)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return sums


def _optimiser(network: Network, settings: Training, total_steps: int) -> tuple[torch.optim.Optimizer, OneCycleLR]:
    # decay pulls weights towards zero; the shifts and scales of norms are not to be pulled
    hidden = [weight for weight in network.embedder.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in hidden if weight.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in hidden if weight.ndim <= 1], "weight_decay": 0.0},
        {"params": [network.classifier.weight], "weight_decay": settings.weight_decay},
    ]
    optimiser = torch.optim.AdamW(groups, fused=True)  # one pass over the weights: a quarter of the time
    rates = [settings.lr, settings.lr, settings.lr * LAST_LAYER_LR]
    return optimiser, OneCycleLR(optimiser, rates, total_steps=total_steps, pct_start=WARM_UP)


def _fast_forward(schedule: OneCycleLR, steps: int) -> None:
    """Set the rates to those after so many steps: they depend on nothing else."""
    schedule.last_epoch = steps - 1
    with warnings.catch_warnings(action="ignore"):  # that the optimiser made no step before
        schedule.step()


def _check_parts(rows: int, settings: Training, processes: ProcessGroup) -> None:
    """Refuse batches of `rows` of `per_whale` photos that leave a process less than two: batch norms need them."""
    if processes.size > 1 and rows // processes.size < 2:
        raise WhaleidError(
            f"{processes.size} processes need {2 * processes.size * settings.per_whale} photos in a batch, but there "
            f"are batches of {rows * settings.per_whale}: start fewer processes, or raise `batch_size`."
        )


def _generators(seed: int, epoch: int, rank: int) -> tuple[np.random.Generator, torch.Generator]:
    """Return what draws the order of photos and, on the CPU, their augmentation: the same in every process.

    Layers that draw, such as dropout, do so by torch's global generator, in each process differently.
    """
    order, draws, layers = np.random.SeedSequence([seed, epoch]).spawn(3)
    torch.manual_seed(int(layers.spawn(rank + 1)[rank].generate_state(1, np.uint64)[0] >> 1))
    return np.random.default_rng(order), torch.Generator().manual_seed(int(draws.generate_state(1, np.uint64)[0] >> 1))


def _embeddings(network: Network, photos: LabelledPhotos, mirrored: bool) -> Tensor:
    """Return embeddings (F, N, D) of `photos` on the device of `network`."""
    embeddings = embed(network, photos.packed, photos.rows, mirrored)
    return torch.from_numpy(embeddings).to(network.classifier.weight.device)


@torch.no_grad()
def _validation_sums(network: Network, embeddings: Tensor, photos: LabelledPhotos, settings: Training) -> Tensor:
    """Return (2,): the sum of the loss over `photos`, by their `embeddings` (N, D), and how many classes are right."""
    cosines = network.classifier(embeddings)  # (N, C)
    if settings.flip == "identity":  # none of these photos is mirrored
        cosines = cosines[:, : network.classifier.classes // 2]
    classes = torch.from_numpy(photos.classes).to(cosines.device)
    loss = F.cross_entropy(settings.loss.scale * cosines, classes, reduction="sum")
    return torch.stack([loss, (cosines.argmax(dim=1) == classes).sum()])


def _update_bn_stats(network: Network, photos: LabelledPhotos, seed: int) -> None:
    """Move the running statistics of batch norms from the photos that the weights come from to these."""
    network.train()
    with torch.no_grad():
        for rows in shuffled_batches(photos.rows, BN_BATCH, np.random.default_rng(seed))[:BN_BATCHES]:
            network(standardise(torch.from_numpy(photos.packed[rows]).to(network.classifier.weight.device)))


def _imprint(network: Network, photos: LabelledPhotos, seed: int, processes: ProcessGroup) -> None:
    """Set each class of the last layer to the mean of its photos' embeddings.

    Qi et al. 2018, "Low-Shot Learning with Imprinted Weights". Several centres of a class lie around it.
    """
    last, classes = network.classifier, int(photos.classes.max()) + 1
    own = photos.part(processes.part(len(photos)))
    embeddings = embed(network, own.packed, own.rows, mirrored=last.classes > classes)  # (F, N, D)
    sums = np.zeros((last.classes, network.embedding), dtype=np.float32)
    for flip, rows in enumerate(embeddings):
        np.add.at(sums, own.classes + flip * classes, rows)
    means = F.normalize(processes.sum(torch.from_numpy(sums))).repeat_interleave(last.centres, dim=0)  # (C * S, D)
    if last.centres > 1:
        around = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed))
        means += CENTRE_SPREAD * F.normalize(around)
    with torch.no_grad():
        last.weight.copy_(means.T)
