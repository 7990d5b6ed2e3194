"""Embeddings of many photos, computed by several processes if there are any."""

import numpy as np
import numpy.typing as npt
import torch

from whaleid.core.log import progress
from whaleid.model.embedding import embed_batch, prepare
from whaleid.model.network import Network
from whaleid.training.distributed import ALONE, World
from whaleid.training.loading import fetched

BATCH = 64


def embed(
    network: Network,
    packed: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    device: torch.device,
    mirrored: bool,
    zoom: float = 1.0,
    tilt: float = 0.0,
    world: World = ALONE,
) -> npt.NDArray[np.float32]:
    """Return embeddings (V, P, D), float32 of unit length, of the photos at `rows` (P,) of `packed` (N, H, W, C).

    `mirrored`, `zoom` and `tilt` are those of `embed_batch`. Each of several processes computes a part and returns the
    whole. Leaves the network on `device`, in evaluation mode.
    """
    prepare(network, device)
    own = rows[world.part(len(rows))]
    embeddings = np.empty((len(own), 1 + mirrored, network.embedding), dtype=np.float32)
    starts = range(0, len(own), BATCH)
    batches = fetched(lambda start: [torch.from_numpy(packed[own[start : start + BATCH]])], starts, device)
    for start, (batch,) in zip(starts, progress(batches, "embedding", len(starts)), strict=True):
        views = embed_batch(network, batch, mirrored, zoom, tilt)
        embeddings[start : start + BATCH] = views.cpu().numpy().transpose(1, 0, 2)
    return np.ascontiguousarray(world.collected(embeddings, len(rows)).transpose(1, 0, 2))
