"""Stage `embed`: compute the embedding of every photo with the network of a variant."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from whaleid.core import files, paths
from whaleid.core.log import logger
from whaleid.core.record import Record
from whaleid.images.pack import load_pack
from whaleid.model import checkpoint, distributed
from whaleid.model.distributed import ProcessGroup
from whaleid.model.embedding import embed, prepare

if TYPE_CHECKING:
    from whaleid.config import Params


def run(params: Params, variant: str) -> Record:
    """Write the embeddings of all photos, and the centres of the classes.

    If torchrun started several processes, each embeds a part of the photos, and the first one writes.

    Raises:
        WhaleidError: the network was trained on photos of another shape, or another process failed or has a different
            network or different photos.
    """
    with distributed.join_process_group() as processes:
        return _run(params, variant, processes)


def _run(params: Params, variant: str, processes: ProcessGroup) -> Record:
    path = paths.checkpoint(variant)
    content = path.read_bytes()
    network, description = checkpoint.load(content, str(path))
    photos = load_pack()
    description.check_photos(photos.shape, str(path))
    settings = params.variants[variant].embed
    inputs = [settings.zoom, settings.tilt, photos.images]
    processes.check_same(hashlib.sha256(content + repr(inputs).encode()).hexdigest())
    rows = np.arange(len(photos.images))[processes.shard(len(photos.images))]
    mirrored = description.flip != "off"
    prepare(network, processes.device)
    shard = embed(network, photos.array, rows, mirrored, settings.zoom, settings.tilt)
    embeddings = np.concatenate(processes.all_gather(shard), axis=1)  # (F, N, D)
    if not processes.is_first:
        return Record()
    # (C, S, D), or (2C, S, D) if mirrored whales are separate classes, after the others
    prototypes = network.classifier.prototypes().detach().cpu().numpy()
    flips, classes = len(embeddings), len(description.classes)
    centres = np.stack([prototypes[-classes:] if flip else prototypes[:classes] for flip in range(flips)])
    with files.replacing(paths.features(variant)) as temporary:
        np.savez(
            temporary,
            images=np.array(photos.images),
            embeddings=embeddings,  # (F, N, D)
            centres=centres,  # (F, C, S, D)
            classes=np.array(description.classes),
        )
    logger.info(
        f"embed {variant}: {embeddings.shape[1]} photos, {flips} flips, {embeddings.shape[2]} dimensions, "
        f"on {processes.describe()}"
    )
    return Record(
        params={
            "device": str(processes.device),
            "processes": processes.size,
            "zoom": settings.zoom,
            "tilt": settings.tilt,
        },
        metrics={"photos": embeddings.shape[1], "views": flips, "dimensions": embeddings.shape[2]},
        inputs=[path],
        outputs=[paths.features(variant)],
    )
