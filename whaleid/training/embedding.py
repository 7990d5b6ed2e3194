"""Embeddings of many photos."""

import numpy as np
import numpy.typing as npt
import torch

from whaleid.core.log import progress
from whaleid.model.embedding import embed_batch, prepare
from whaleid.model.network import Network

BATCH = 64


def embed(
    network: Network,
    packed: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    device: torch.device,
    mirrored: bool,
    zoom: float = 1.0,
    tilt: float = 0.0,
) -> npt.NDArray[np.float32]:
    """Return embeddings (V, P, D), float32 of unit length, of the photos at `rows` (P,) of `packed` (N, H, W, C).

    `mirrored`, `zoom` and `tilt` are those of `embed_batch`. Leaves the network on `device`, in evaluation mode.
    """
    prepare(network, device)
    embeddings = np.empty((1 + mirrored, len(rows), network.embedding), dtype=np.float32)
    starts = range(0, len(rows), BATCH)
    for start in progress(starts, "embedding", len(starts)):
        batch = torch.from_numpy(packed[rows[start : start + BATCH]]).to(device)  # (B, H, W, C)
        embeddings[:, start : start + BATCH] = embed_batch(network, batch, mirrored, zoom, tilt).cpu().numpy()
    return embeddings
