"""Stage `train`: train the network of a variant, starting from the hidden layers of its `init`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from whaleid.core import files, paths
from whaleid.core.errors import WhaleidError
from whaleid.core.log import logger
from whaleid.core.record import LogEpoch, Record
from whaleid.images.pack import PackedPhotos, load_pack
from whaleid.model import checkpoint, distributed
from whaleid.model.architectures import TIMM
from whaleid.model.device import precision
from whaleid.model.distributed import ProcessGroup
from whaleid.model.network import CosineClassifier
from whaleid.training import engine, state, subset
from whaleid.training.loader import LabelledPhotos
from whaleid.training.state import Epoch, State

if TYPE_CHECKING:
    from whaleid.config import Params

PACKAGE = Path(__file__).parents[1]
SAVE_SECONDS = 5.0
"""Minimum time between two saved states. Saving the 135 MB of a resnet18 takes 0.3 s, a tenth of an epoch on the
synthetic catalogue."""


def run(params: Params, variant: str, log_epoch: LogEpoch) -> Record:
    """Train a variant and write its checkpoint and history. An interrupted training resumes from its saved state.

    If torchrun started several processes, they train together, and the first one writes.

    Raises:
        WhaleidError: there are too few photos for the variant, its `init` cannot be used, or another process failed or
            has different inputs.
    """
    with distributed.join_process_group() as processes:
        return _run(params, variant, log_epoch, processes)


def _run(params: Params, variant: str, log_epoch: LogEpoch, processes: ProcessGroup) -> Record:
    entry = params.variants[variant]
    init, learn, settings = entry.init, entry.learn, entry.train
    split = files.read_csv(paths.SPLIT)
    unique = split[split["role"] != "duplicate"]
    held_out = (unique["part"] == "validation") & (learn == "train")
    train_photos = subset.select(unique[~held_out], variant, settings)
    classes = tuple(sorted(train_photos["Id"].unique()))
    val_photos = unique[held_out & unique["Id"].isin(classes)]
    photos = load_pack()
    train_set, val_set = (_labelled(photos, frame, classes) for frame in (train_photos, val_photos))

    torch.manual_seed(params.seed)
    start = paths.checkpoint(init)
    weights = start.read_bytes()
    network, init_description = checkpoint.load(weights, str(start))
    if init_description.photos is not None:
        init_description.check_photos(photos.shape, str(start))
    description = checkpoint.Description(classes, photos.shape, settings.flip)
    network.classifier = CosineClassifier(network.embedding_dim, description.num_outputs, settings.loss.centres)
    dtype = str(precision(processes.device)).removeprefix("torch.")
    hardware = f"{processes.describe()} in {dtype}"
    logger.info(
        f"train {variant}: {len(train_photos)} photos of {len(classes)} classes, {settings.layers} layers of "
        f"{network.backbone.name} from {init}, on {hardware}"
    )

    libraries = ["torch", "torchvision", "pytorch-metric-learning"]
    libraries += ["timm"] if network.backbone.name.startswith(TIMM) else []
    versions = [version(library) for library in libraries]
    inputs = [settings.model_dump(), params.seed, processes.device.type, dtype, versions, photos.images]
    tables = [frame.to_csv().encode() for frame in (train_photos, val_photos)]
    digest = _digest(repr(inputs).encode(), np.ascontiguousarray(photos.array).data, weights, *tables, *_sources())
    processes.check_same(digest)
    path = paths.training_state(variant)
    saved = processes.broadcast(_load(path, digest) if processes.is_first else None)
    epochs = saved.epochs if saved else []
    for number, epoch in enumerate(epochs, start=1):
        log_epoch(number, epoch.learning | epoch.speed)
    last_saved = -float("inf")
    for current in engine.train(network, train_set, val_set, settings, params.seed, saved, processes):
        epochs = current.epochs
        _report(epochs, settings.epochs, log_epoch)
        due = time.perf_counter() - last_saved >= SAVE_SECONDS
        if processes.is_first and len(epochs) < settings.epochs and due:
            with files.replacing(path) as temporary:
                temporary.write_bytes(state.save(current, digest))
            last_saved = time.perf_counter()
    if not processes.is_first:
        return Record()

    with files.replacing(paths.checkpoint(variant)) as temporary:
        temporary.write_bytes(checkpoint.save(network, description))
    files.remove(path)
    history = pd.DataFrame([{"epoch": number, **epoch.learning} for number, epoch in enumerate(epochs, start=1)])
    files.write_csv(history, paths.history(variant))
    throughput = median(epoch.speed["photos_per_second"] for epoch in epochs)
    logger.info(f"train {variant}: {throughput:.0f} photos/s on {hardware}")
    return Record(
        params={
            "variant": variant,
            "init": init,
            "learn": learn,
            **settings.model_dump(exclude={"loss"}),
            **{f"loss.{key}": value for key, value in settings.loss.model_dump().items()},
            "backbone": network.backbone.name,
            "seed": params.seed,
            "device": str(processes.device),
            "precision": dtype,
            "processes": processes.size,
            "classes": len(classes),
            "train_photos": len(train_photos),
        },
        metrics={"seconds": sum(epoch.speed["epoch_seconds"] for epoch in epochs)},
        artifacts=[paths.history(variant)],
        inputs=[start, paths.SPLIT],
        outputs=[paths.checkpoint(variant)],
        dataset=paths.SPLIT,
    )


def _report(epochs: Sequence[Epoch], total: int, log_epoch: LogEpoch) -> None:
    """Log and print the metrics of the last of `epochs`."""
    number, last = len(epochs), epochs[-1]
    log_epoch(number, last.learning | last.speed)
    metrics = ", ".join(
        f"{name.replace('_', ' ')} {value:.3f}" for name, value in last.learning.items() if name != "lr"
    )
    logger.info(f"epoch {number} of {total}: {metrics}, {last.speed['photos_per_second']:.0f} photos/s")


def _labelled(photos: PackedPhotos, frame: pd.DataFrame, classes: tuple[str, ...]) -> LabelledPhotos:
    codes = pd.Categorical(frame["Id"], categories=classes).codes
    return LabelledPhotos(photos.array, photos.rows(frame["Image"]), codes.astype(np.int64))


def _digest(*contents: bytes | memoryview) -> str:
    """Compute a digest of `contents` that depends on their boundaries."""
    digests = b"".join(hashlib.sha256(content).digest() for content in contents)
    return hashlib.sha256(digests).hexdigest()


def _sources() -> list[bytes]:
    """Return the source files that affect training, so that a change of the code restarts it."""
    folders = [PACKAGE / folder for folder in ("images", "model", "training")]
    sources = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    return [path.read_bytes() for path in (Path(__file__), *sources)]


def _load(path: Path, digest: str) -> State | None:
    """Load the saved state of this training; None if there is none, or if it cannot be used."""
    if not path.exists():
        return None
    try:
        saved = state.load(path.read_bytes(), digest, str(path))
    except WhaleidError as error:
        logger.info(str(error))
        return None
    logger.info(f"{path}: training resumes after epoch {len(saved.epochs)}.")
    return saved
