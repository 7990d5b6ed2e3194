"""Stage `train`: a variant learns whales, from the hidden layers that its `init` names."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pytorch_metric_learning import __version__ as losses_version

from whaleid.core import files, paths
from whaleid.core.record import LogEpoch, Record
from whaleid.images import packed
from whaleid.model import checkpoint
from whaleid.training import distributed, engine, sampler, speed
from whaleid.training.device import describe, pick_device
from whaleid.training.distributed import World
from whaleid.training.showing import Photos

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params, variant: str, log_epoch: LogEpoch) -> Record:
    """Train a variant and write its checkpoint and its history; go on where the same training was killed.

    Of several processes that torchrun started, all train and the first one writes.

    Raises:
        WhaleidError: the photos are too few for the variant, its `init` cannot be used, or of several processes one
            has other files than the first, or ended.
    """
    device = pick_device()
    with distributed.joined(device) as world:
        return _run(params, variant, log_epoch, device, world)


def _run(params: Params, variant: str, log_epoch: LogEpoch, device: torch.device, world: World) -> Record:
    settings, init = params.variants[variant].train, params.variants[variant].init
    split = files.read_csv(paths.SPLIT)
    fresh = split[split["role"] != "duplicate"]
    held_out = (fresh["part"] == "validation") & (params.variants[variant].learn == "train")
    chosen = sampler.select(fresh[~held_out], variant, settings)
    classes = tuple(sorted(chosen["Id"].unique()))
    photos = packed.load()
    check_on = fresh[held_out & fresh["Id"].isin(classes)]
    learn, check = (_photos(photos, frame, classes) for frame in (chosen, check_on))

    torch.manual_seed(params.seed)
    start = paths.checkpoint(init)
    begun = start.read_bytes()
    network, before = checkpoint.load(begun, str(start))
    if before.photos is not None:
        before.check_photos(photos.shape, str(start))
    description = checkpoint.Description(classes, photos.shape, settings.flip)
    network.reset_classifier(description.columns, settings.loss.centres)
    print(
        f"train {variant}: {len(chosen)} photos of {len(classes)} classes, {settings.layers} layers of "
        f"{network.backbone.name} from {init}, on {describe(device, world)}",
        flush=True,
    )
    # of this very training: other photos, parameters or code would not lead where it was going
    asked = settings.model_dump()
    machine = [device.type, speed.wanted(device), world.same_norms, torch.__version__, losses_version]
    facts = repr([asked, params.seed, machine, photos.images])
    mark = _mark(facts, photos.array, begun, _csv(chosen), _csv(check_on), *_sources())
    world.agree(mark)
    unfinished = paths.unfinished(variant)
    memory = engine.Memory(
        world.shared(_kept(unfinished, mark) if world.first else None),
        partial(_keep, unfinished, mark) if world.first else _keep_nothing,
    )
    epochs, computed = engine.train(
        network, photos.array, learn, check, settings, params.seed, device, log_epoch, memory, world
    )
    if not world.first:
        return Record()
    with files.replacing(paths.checkpoint(variant)) as temporary:
        temporary.write_bytes(checkpoint.save(network, description))
    unfinished.unlink(missing_ok=True)
    history = pd.DataFrame([epoch.learning for epoch in epochs])
    history.insert(0, "epoch", range(1, len(history) + 1))
    files.write_csv(history, paths.history(variant))
    pace = {name: median(epoch.speed[name] for epoch in epochs) for name in epochs[0].speed}
    print(
        f"train {variant}: {pace['photos_per_second']:.0f} photos/s on {describe(device, world)} in {computed}, "
        f"{pace['network_share']:.0%} of the time in the network"
    )
    return Record(
        params={
            "variant": variant,
            "init": init,
            "learn": params.variants[variant].learn,
            **settings.model_dump(exclude={"loss"}),
            **{f"loss.{key}": value for key, value in settings.loss.model_dump().items()},
            "backbone": network.backbone.name,
            "seed": params.seed,
            "device": str(device),
            "processes": world.size,
            "computed": str(computed),
            "classes": len(classes),
            "train_photos": len(chosen),
        },
        metrics={"seconds": sum(epoch.speed["epoch_seconds"] for epoch in epochs)},
        artifacts=[paths.history(variant)],
        inputs=[start, paths.SPLIT],
        outputs=[paths.checkpoint(variant)],
        dataset=paths.SPLIT,
    )


def _photos(photos: packed.Packed, frame: pd.DataFrame, classes: tuple[str, ...]) -> Photos:
    place = {label: number for number, label in enumerate(classes)}
    return Photos(
        rows=photos.rows(frame["Image"]),
        classes=np.array([place[label] for label in frame["Id"]], dtype=np.int64),
    )


def _mark(facts: str, photos: npt.NDArray[np.uint8], *contents: bytes) -> str:
    """Return a digest of all that a training depends on."""
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(photos).data)
    for content in (facts.encode(), *contents):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _sources() -> list[bytes]:
    """Return the code that training runs."""
    rooms = ("whaleid.images", "whaleid.model", "whaleid.stages", "whaleid.training")
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith(rooms)]
    return [Path(module.__file__).read_bytes() for module in modules if module.__file__]


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv().encode()


def _keep(path: Path, mark: str, state: Mapping[str, Any]) -> None:
    with files.replacing(path) as temporary:
        torch.save({"mark": mark, "state": state}, temporary)


def _keep_nothing(_: Mapping[str, Any]) -> None:
    """Leave it to the first process."""


def _kept(path: Path, mark: str) -> Mapping[str, Any] | None:
    """Return the state of the training `mark` after its last whole epoch, if it was killed."""
    if not path.exists():
        return None
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        print(f"{path} cannot be read ({error}). Training begins anew.")
        return None
    if not isinstance(kept, Mapping) or kept.get("mark") != mark:
        print(f"{path} is of another training (other photos, parameters or code): this one begins anew.")
        return None
    state: Mapping[str, Any] = kept["state"]
    print(f"{path}: training goes on after epoch {len(state['epochs'])}.")
    return state
