"""The training loop: one cycle of AdamW over augmented photos."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch._dynamo  # AdamW imports it at its first step, when it takes twice as long (core.startup)
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from whaleid.core.errors import WhaleidError
from whaleid.core.log import logger, progress
from whaleid.model.batches import shuffled_batches
from whaleid.model.device import precision
from whaleid.model.distributed import ALONE, ProcessGroup
from whaleid.model.embedding import embed
from whaleid.model.losses import build
from whaleid.model.network import Network, standardise
from whaleid.training.loader import BatchLoader, LabelledPhotos
from whaleid.training.sampler import sample_batches
from whaleid.training.state import Epoch, State, restore, snapshot

if TYPE_CHECKING:
    from whaleid.config import Training
    from whaleid.core.record import LogEpoch

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
SAVE_SECONDS = 5.0
"""The state is saved after an epoch that ends so long after the last one saved: the 135 MB of a resnet18 take 0.3 s, a
tenth of an epoch of the drawn catalogue."""


def train(
    network: Network,
    packed: npt.NDArray[np.uint8],
    train_set: LabelledPhotos,
    val_set: LabelledPhotos,
    settings: Training,
    seed: int,
    device: torch.device,
    log_epoch: LogEpoch,
    save: Callable[[State], None],
    saved: State | None = None,
    processes: ProcessGroup = ALONE,
) -> list[Epoch]:
    """Train `network` in place.

    Args:
        network: left on `device`, in evaluation mode. Its last layer has the classes of `train_set` or, where a
            mirrored fluke is another whale, those and then as many mirrored ones.
        packed: (N, H, W, C) uint8, of which `train_set` and `val_set` name rows.
        train_set: photos to learn from.
        val_set: photos of the same classes that are measured after each epoch; may be empty.
        settings: which layers are trained, by which loss, on which photos, for how many epochs.
        seed: of the order of photos and of their augmentation.
        device: where to compute.
        log_epoch: called after each epoch with its figures; first, for epochs of a training that resumes.
        save: called by the first process after an epoch, `SAVE_SECONDS` apart, with tensors that later steps change.
        saved: the state from which this training resumes, on the CPU to the same result.
        processes: which train together; all are given, and left, the same.

    Raises:
        WhaleidError: `layers` is `upper`, and the backbone has no first layers to keep; or the parts of a batch are too
            small for so many processes.
    """
    network.to(device).to(memory_format=torch.channels_last)
    frozen: list[nn.Module] = []
    if settings.layers != "all":
        frozen = network.backbone.early() if settings.layers == "upper" else [network.embedder]
    if settings.layers != "last":
        _update_bn_stats(network, packed, train_set, seed, device)
    network.freeze(frozen)
    classified = settings.loss.kind != "triplet"  # it has no classes before its end
    network.classifier.requires_grad_(classified)
    loss_of = build(settings.loss, network.classifier)

    # every epoch has as many batches of the same sizes
    epoch = sample_batches(train_set.classes, settings, np.random.default_rng(seed))
    photos_per_epoch, total_steps = sum(batch.size for batch in epoch), settings.epochs * len(epoch)
    # where the other layers stand still, they embed each photo once, and every process learns from all embeddings
    embeds_once = settings.layers == "last" and not settings.augment
    sharing = ALONE if embeds_once else processes
    _check_parts(min(len(batch) for batch in epoch), settings, sharing)
    optimiser, schedule = _optimiser(network, settings, total_steps)
    epochs: list[Epoch] = []
    if saved:
        epochs = list(saved.epochs)
        restore(network, optimiser, saved.tensors)
        _fast_forward(schedule, len(epochs) * len(epoch))
        for number, past in enumerate(epochs, start=1):
            log_epoch(number, past.learning | past.speed)
    else:
        _imprint(network, packed, train_set, device, seed, processes)

    known = None
    if embeds_once:
        views = embed(network, packed, train_set.rows, device, mirrored=settings.flip != "off")
        known = torch.from_numpy(views).to(device)  # (V, N, D)
    part = sharing.part(len(val_set.rows))
    val_rows, val_classes = val_set.rows[part], torch.from_numpy(val_set.classes[part]).to(device)
    loader = BatchLoader(packed, train_set, known, settings, network.classifier.classes, device, sharing)
    model: Callable[[Tensor], Tensor] = sharing.wrap(network)
    if settings.compile:
        model = torch.compile(model, dynamic=False)
    half = precision(device) == torch.bfloat16
    val_embeddings, last_saved = None, -float("inf")

    for number in range(len(epochs) + 1, settings.epochs + 1):
        started = time.perf_counter()
        order, draws = _generators(seed, number, sharing.rank)
        epoch = sample_batches(train_set.classes, settings, order)
        lr = float(schedule.get_last_lr()[0])
        sums = torch.zeros(2, device=device)  # of the loss and of the photos whose class is right
        network.train()
        for batch in progress(epoch, f"epoch {number} of {settings.epochs}", len(epoch)):
            # this process's part: (B, C, H, W), or (B, D) where embeddings are known, and (B,)
            inputs, columns = loader.load(batch, draws)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                embeddings = model(inputs) if known is None else inputs  # (B, D)
            loss = loss_of(embeddings, columns, min(1.0, schedule.last_epoch / (MARGIN_WARM_UP * total_steps)))
            with torch.no_grad():
                correct = (network.classifier(embeddings).argmax(dim=1) == columns).sum()
                sums += torch.stack([loss * len(columns), correct])
            optimiser.zero_grad(set_to_none=True)
            # DDP takes the mean over processes, whose parts may differ by a row
            (loss * (len(columns) * sharing.size / batch.size)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        sharing.broadcast_buffers(network)
        loss_sum, correct_sum = sharing.sum(sums).tolist()  # waits for a GPU
        seconds = time.perf_counter() - started

        learning = {"lr": lr, "loss": loss_sum / photos_per_epoch}
        if classified:
            learning["accuracy"] = correct_sum / photos_per_epoch
        if classified and len(val_set.rows):
            if val_embeddings is None or settings.layers != "last":  # else they stand still
                val_embeddings = embed(network, packed, val_rows, device, mirrored=False)[0]
            sums = _validation_sums(network, val_embeddings, val_classes, settings)
            loss_sum, correct_sum = sharing.sum(sums).tolist()
            learning["validation_loss"] = loss_sum / len(val_set.rows)
            learning["validation_accuracy"] = correct_sum / len(val_set.rows)
        speed = {"epoch_seconds": seconds, "photos_per_second": photos_per_epoch / seconds}
        epochs.append(Epoch(learning, speed))
        log_epoch(number, learning | speed)
        figures = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in learning.items() if name != "lr")
        logger.info(f"epoch {number} of {settings.epochs}: {figures}, {speed['photos_per_second']:.0f} photos/s")
        if processes.first and number < settings.epochs and time.perf_counter() - last_saved >= SAVE_SECONDS:
            save(State([*epochs], snapshot(network, optimiser)))
            last_saved = time.perf_counter()
    if not classified:
        _imprint(network, packed, train_set, device, seed, processes)
    network.eval()
    return epochs


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


@torch.no_grad()
def _validation_sums(
    network: Network, embeddings: npt.NDArray[np.float32], classes: Tensor, settings: Training
) -> Tensor:
    """Return (2,): the sum of the loss over `embeddings` (N, D), and how many have their class of `classes` (N,)."""
    cosines = network.classifier(torch.from_numpy(embeddings).to(classes.device))  # (N, C)
    if settings.flip == "identity":  # none of these photos is mirrored
        cosines = cosines[:, : network.classifier.classes // 2]
    loss = F.cross_entropy(settings.loss.scale * cosines, classes, reduction="sum")
    return torch.stack([loss, (cosines.argmax(dim=1) == classes).sum()])


def _update_bn_stats(
    network: Network, packed: npt.NDArray[np.uint8], train_set: LabelledPhotos, seed: int, device: torch.device
) -> None:
    """Move the running statistics of batch norms from the photos that the weights come from to these."""
    network.train()
    with torch.no_grad():
        for rows in shuffled_batches(train_set.rows, BN_BATCH, np.random.default_rng(seed))[:BN_BATCHES]:
            network(standardise(torch.from_numpy(packed[rows]).to(device)))


def _imprint(
    network: Network,
    packed: npt.NDArray[np.uint8],
    train_set: LabelledPhotos,
    device: torch.device,
    seed: int,
    processes: ProcessGroup,
) -> None:
    """Set each class of the last layer to the mean of its photos' embeddings.

    Qi et al. 2018, "Low-Shot Learning with Imprinted Weights". Several centres of a class lie around it.
    """
    last, classes = network.classifier, int(train_set.classes.max()) + 1
    part = processes.part(len(train_set.rows))
    views = embed(network, packed, train_set.rows[part], device, last.classes > classes)  # (V, N, D)
    sums = np.zeros((last.classes, network.embedding), dtype=np.float32)
    for view, embeddings in enumerate(views):
        np.add.at(sums, train_set.classes[part] + view * classes, embeddings)
    means = F.normalize(processes.sum(torch.from_numpy(sums))).repeat_interleave(last.centres, dim=0)  # (C * S, D)
    if last.centres > 1:
        around = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed))
        means += CENTRE_SPREAD * F.normalize(around)
    with torch.no_grad():
        last.weight.copy_(means.T)
