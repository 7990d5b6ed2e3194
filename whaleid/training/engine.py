"""The training loop: AdamW with a one-cycle learning rate, on augmented photos."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch._dynamo  # AdamW would import it in its first step, whose time is measured
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from whaleid.core.errors import WhaleidError
from whaleid.core.log import progress
from whaleid.model.batches import shuffled_batches
from whaleid.model.device import precision
from whaleid.model.distributed import SINGLE_PROCESS, ProcessGroup
from whaleid.model.embedding import embed
from whaleid.model.losses import LossFunction, build
from whaleid.model.network import Network, standardise
from whaleid.training.loader import BatchLoader, LabelledPhotos
from whaleid.training.sampler import Rows, sample_batches
from whaleid.training.state import Epoch, State, restore, snapshot

if TYPE_CHECKING:
    from whaleid.config import Training

LR_WARMUP = 0.21
"""Fraction of the steps in which the learning rate rises. With 0.2, torch divides by zero if there are five steps."""
CLASSIFIER_LR_FACTOR = 10.0
"""Factor of the classifier's learning rate: high, since a whale with one photo trains its prototype once per epoch."""
MARGIN_WARMUP = 0.5
"""Fraction of the steps in which the margin grows from 0. With the full margin from the start, losses barely fall."""
BN_BATCH_SIZE, BN_BATCHES = 64, 20
"""Photos per batch and number of batches used to update the running statistics of batch norms before training."""
CENTRE_DISTANCE = 0.3
"""Initial distance of the centres of a class from its mean, if it has several."""


def train(
    network: Network,
    train_set: LabelledPhotos,
    val_set: LabelledPhotos,
    settings: Training,
    seed: int,
    saved: State | None = None,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[State]:
    """Train `network` in place; yield the state after each epoch. Later epochs overwrite its tensors.

    Args:
        network: moved to the device of `processes`, and in evaluation mode afterwards. Its classifier has one output
            per class of `train_set`, followed by one per mirrored class if `flip` is `identity`.
        train_set: photos to train on.
        val_set: photos of the same classes to evaluate after each epoch; may be empty.
        settings: parameters of the training, such as its layers, loss and number of epochs.
        seed: seed of the order of photos and of their augmentation.
        saved: state to resume from; on a CPU, the result is the same as without the interruption.
        processes: group of processes that train together, each called with the same arguments.

    Raises:
        WhaleidError: `layers` is `upper` and the backbone has no early layers, or a batch has fewer than two photos (or
            rows) per process.
    """
    network.to(processes.device).to(memory_format=torch.channels_last)
    if settings.layers == "last":
        network.freeze([network.embedder])
    else:
        _update_bn_stats(network, train_set, seed)
    if settings.layers == "upper":
        network.freeze(network.backbone.early_layers())
    trains_classifier = settings.loss.kind != "triplet"  # triplet sets the classifier after the last epoch
    network.classifier.requires_grad_(trains_classifier)
    loss_function = build(settings.loss, network.classifier)

    # frozen layers embed each photo once, and every process trains the classifier on all embeddings
    embeds_once = settings.layers == "last" and not settings.augment
    group = ProcessGroup(processes.device) if embeds_once else processes
    # every epoch has the same number of batches, of the same sizes
    batches = sample_batches(train_set.classes, settings, np.random.default_rng(seed))
    _check_shards(min(len(batch) for batch in batches), settings, group)
    optimiser, scheduler = _build_optimiser(network, settings, settings.epochs * len(batches))
    epochs = list(saved.epochs) if saved else []
    if saved:
        restore(network, optimiser, saved.tensors)
        _fast_forward(scheduler, len(epochs) * len(batches))
    else:
        _imprint(network, train_set, seed, processes)

    model: Callable[[Tensor], Tensor] = group.wrap(network)
    if settings.compile:
        model = torch.compile(model, dynamic=False)
    train_embeddings = None
    if embeds_once:
        model, train_embeddings = nn.Identity(), _embeddings(network, train_set, settings.flip != "off")
    loader = BatchLoader(train_set, train_embeddings, settings, group)
    val_shard, val_embeddings = val_set.subset(group.shard(len(val_set))), None

    for epoch in range(len(epochs) + 1, settings.epochs + 1):
        started = time.perf_counter()
        order_generator, augment_generator = _generators(seed, epoch, group.rank)
        batches = sample_batches(train_set.classes, settings, order_generator)
        photos = sum(batch.size for batch in batches)
        learning = {"lr": float(scheduler.get_last_lr()[0])}
        tracked_batches = progress(batches, f"epoch {epoch} of {settings.epochs}", len(batches))
        sums = _train_epoch(
            network, model, loader, tracked_batches, augment_generator, loss_function, optimiser, scheduler
        )
        group.broadcast_buffers(network)
        loss, correct = group.sum(sums).tolist()  # synchronises with the GPU
        seconds = time.perf_counter() - started

        learning["loss"] = loss / photos
        if trains_classifier:
            learning["accuracy"] = correct / photos
        if trains_classifier and len(val_set):
            if val_embeddings is None or settings.layers != "last":  # else they are frozen
                val_embeddings = _embeddings(network, val_shard, mirrored=False)[0]
            loss, correct = group.sum(_validation_sums(network, val_embeddings, val_shard, settings)).tolist()
            learning["validation_loss"] = loss / len(val_set)
            learning["validation_accuracy"] = correct / len(val_set)
        epochs.append(Epoch(learning, {"epoch_seconds": seconds, "photos_per_second": photos / seconds}))
        yield State([*epochs], snapshot(network, optimiser))
    if not trains_classifier:
        _imprint(network, train_set, seed, processes)
    network.eval()


def _train_epoch(
    network: Network,
    model: Callable[[Tensor], Tensor],
    loader: BatchLoader,
    batches: Iterable[Rows],
    generator: torch.Generator,
    loss_function: LossFunction,
    optimiser: torch.optim.Optimizer,
    scheduler: OneCycleLR,
) -> Tensor:
    """Train for one epoch; return (2,): the sum of the loss and the number of correct predictions of this process.

    `model` maps the inputs from `loader` to embeddings: `network`, wrapped and compiled, or the identity.
    """
    processes = loader.processes
    device, margin_steps = processes.device, MARGIN_WARMUP * scheduler.total_steps
    use_bfloat16 = precision(device) == torch.bfloat16
    sums = torch.zeros(2, device=device)
    network.train()
    for batch in batches:
        inputs, targets = loader.load(batch, generator)  # this process's shard: (B, C, H, W) or (B, D), and (B,)
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16):
            embeddings = model(inputs)  # (B, D)
        loss = loss_function(embeddings, targets, min(1.0, scheduler.last_epoch / margin_steps))
        with torch.no_grad():
            correct = (network.classifier(embeddings).argmax(dim=1) == targets).sum()
            sums += torch.stack([loss * len(targets), correct])
        optimiser.zero_grad(set_to_none=True)
        # DDP averages over processes, whose shards may differ by one row
        (loss * (len(targets) * processes.size / batch.size)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        scheduler.step()
    return sums


def _build_optimiser(network: Network, settings: Training, steps: int) -> tuple[torch.optim.Optimizer, OneCycleLR]:
    # the biases and scales of norms are exempt from weight decay
    embedder_weights = [weight for weight in network.embedder.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in embedder_weights if weight.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in embedder_weights if weight.ndim <= 1], "weight_decay": 0.0},
        {"params": [network.classifier.weight], "weight_decay": settings.weight_decay},
    ]
    optimiser = torch.optim.AdamW(groups, fused=True)  # one pass over the weights takes a quarter of the time
    max_lr = [settings.lr, settings.lr, settings.lr * CLASSIFIER_LR_FACTOR]
    return optimiser, OneCycleLR(optimiser, max_lr, total_steps=steps, pct_start=LR_WARMUP)


def _fast_forward(scheduler: OneCycleLR, steps: int) -> None:
    """Set the learning rates after `steps` steps. They depend on the number of steps only."""
    scheduler.last_epoch = steps - 1
    with warnings.catch_warnings(action="ignore"):  # that the scheduler steps before the optimiser
        scheduler.step()


def _check_shards(rows: int, settings: Training, processes: ProcessGroup) -> None:
    """Check that each process gets at least two of the `rows` of a batch, which batch norms need."""
    if processes.size > 1 and rows // processes.size < 2:
        raise WhaleidError(
            f"{processes.size} processes need batches of at least {2 * processes.size * settings.per_whale} photos, "
            f"but some have {rows * settings.per_whale}. Start fewer processes, or increase `batch_size`."
        )


def _generators(seed: int, epoch: int, rank: int) -> tuple[np.random.Generator, torch.Generator]:
    """Return the generators of the order of photos and of their augmentation (on the CPU), equal in every process.

    Also seed torch's global generator, which layers such as dropout use, differently in every process.
    """
    order, draws, layers = np.random.SeedSequence([seed, epoch]).spawn(3)
    torch.manual_seed(int(layers.spawn(rank + 1)[rank].generate_state(1, np.uint64)[0] >> 1))
    return np.random.default_rng(order), torch.Generator().manual_seed(int(draws.generate_state(1, np.uint64)[0] >> 1))


def _embeddings(network: Network, photos: LabelledPhotos, mirrored: bool) -> Tensor:
    """Compute the embeddings (F, N, D) of `photos`, on the device of `network`."""
    embeddings = embed(network, photos.packed, photos.rows, mirrored)
    return torch.from_numpy(embeddings).to(network.classifier.weight.device)


@torch.no_grad()
def _validation_sums(network: Network, embeddings: Tensor, photos: LabelledPhotos, settings: Training) -> Tensor:
    """Return (2,): the sum of the loss and the number of correct predictions over `photos` with `embeddings` (N, D)."""
    cosines = network.classifier(embeddings)  # (N, C)
    if settings.flip == "identity":  # no photo is mirrored, so mirrored classes are excluded
        cosines = cosines[:, : network.classifier.classes // 2]
    classes = torch.from_numpy(photos.classes).to(cosines.device)
    loss = F.cross_entropy(settings.loss.scale * cosines, classes, reduction="sum")
    return torch.stack([loss, (cosines.argmax(dim=1) == classes).sum()])


def _update_bn_stats(network: Network, photos: LabelledPhotos, seed: int) -> None:
    """Update the running statistics of batch norms, which come from the data of the pretrained weights, on `photos`."""
    network.train()
    with torch.no_grad():
        for rows in shuffled_batches(photos.rows, BN_BATCH_SIZE, np.random.default_rng(seed))[:BN_BATCHES]:
            network(standardise(torch.from_numpy(photos.packed[rows]).to(network.classifier.weight.device)))


def _imprint(network: Network, photos: LabelledPhotos, seed: int, processes: ProcessGroup) -> None:
    """Set the prototype of each class to the mean embedding of its photos; several centres are placed around it.

    Qi et al. 2018, "Low-Shot Learning with Imprinted Weights".
    """
    classifier, classes = network.classifier, int(photos.classes.max()) + 1
    shard = photos.subset(processes.shard(len(photos)))
    embeddings = embed(network, shard.packed, shard.rows, mirrored=classifier.classes > classes)  # (F, N, D)
    sums = np.zeros((classifier.classes, network.embedding_dim), dtype=np.float32)
    for flip, flip_embeddings in enumerate(embeddings):
        np.add.at(sums, shard.classes + flip * classes, flip_embeddings)
    means = F.normalize(processes.sum(torch.from_numpy(sums)))  # (C, D)
    means = means.repeat_interleave(classifier.centres, dim=0)  # (C * S, D)
    if classifier.centres > 1:
        offsets = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed))
        means += CENTRE_DISTANCE * F.normalize(offsets)
    with torch.no_grad():
        classifier.weight.copy_(means.T)
