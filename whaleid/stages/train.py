"""Stage `train`: a variant learns whales, from the hidden layers that its `init` names."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from whaleid import files, paths
from whaleid.model import checkpoint
from whaleid.record import LogEpoch, Record
from whaleid.stages import packed
from whaleid.training import engine, sampler
from whaleid.training.device import describe, pick_device

if TYPE_CHECKING:
    from whaleid.params import Params


def run(params: Params, variant: str, log_epoch: LogEpoch) -> Record:
    """Train a variant and write its checkpoint and its history."""
    settings = params.variants[variant]
    split = files.read_csv(paths.SPLIT)
    chosen = sampler.select(split, variant, settings)
    classes = tuple(sorted(chosen["Id"].unique()))
    held = split[(split["part"] == "validation") & (split["role"] != "duplicate") & split["Id"].isin(classes)]
    photos = packed.load()
    learn, check = (_photos(photos, frame, classes) for frame in (chosen, held))

    torch.manual_seed(params.seed)
    start = paths.checkpoint(settings.init)
    network, before = checkpoint.from_checkpoint(checkpoint.loads(start.read_bytes(), str(start)), str(start))
    if before.photos is not None:
        before.check_photos(photos.shape, str(start))
    network.renew_last(len(classes))
    device = pick_device()
    print(
        f"train {variant}: {len(chosen)} photos of {len(classes)} classes, {settings.layers} layers of "
        f"{network.backbone.name} from {settings.init}, on {describe(device)}",
        flush=True,
    )
    epochs = engine.train(network, photos.array, learn, check, settings, params.seed, device, log_epoch)

    description = checkpoint.Description(classes, photos.shape)
    with files.replacing(paths.checkpoint(variant)) as temporary:
        temporary.write_bytes(checkpoint.dumps(checkpoint.to_checkpoint(network, description)))
    history = pd.DataFrame([epoch.learning for epoch in epochs])
    history.insert(0, "epoch", range(1, len(history) + 1))
    files.write_csv(history, paths.history(variant))
    speed = {name: median(epoch.speed[name] for epoch in epochs) for name in epochs[0].speed}
    print(
        f"train {variant}: {speed['photos_per_second']:.0f} photos/s on {device}, "
        f"{speed['network_share']:.0%} of the time in the network"
    )
    return Record(
        params={
            **settings.model_dump(exclude={"leaks"}),  # which predict alone uses
            "backbone": network.backbone.name,
            "seed": params.seed,
            "device": str(device),
            "classes": len(classes),
            "train_photos": len(chosen),
        },
        artifacts=[paths.history(variant)],
        inputs=[paths.checkpoint(settings.init), paths.SPLIT],
        outputs=[paths.checkpoint(variant)],
        dataset=paths.SPLIT,
    )


def _photos(photos: packed.Packed, frame: pd.DataFrame, classes: tuple[str, ...]) -> engine.Photos:
    place = {label: number for number, label in enumerate(classes)}
    return engine.Photos(
        rows=photos.rows(frame["Image"]),
        classes=np.array([place[label] for label in frame["Id"]], dtype=np.int64),
    )
