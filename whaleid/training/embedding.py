"""Photos into embeddings, by a trained network."""

import numpy as np
import numpy.typing as npt
import torch

from whaleid.model.network import Network, standardise
from whaleid.progress import progress

BATCH = 64


@torch.inference_mode()
def embed(
    network: Network,
    packed: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    device: torch.device,
    mirrored: bool,
) -> npt.NDArray[np.float32]:
    """Return (V, P, D) float32, rows of unit length: the embeddings of the photos at `rows` (P,) of `packed`.

    `packed` is (N, H, W, C). View 0 is the photos as they are; where `mirrored` is asked for, view 1 is their mirror
    images. Leaves the network on `device`, in evaluation mode.
    """
    network.to(device).to(memory_format=torch.channels_last).eval()
    found = np.empty((1 + mirrored, len(rows), network.embedding), dtype=np.float32)
    starts = range(0, len(rows), BATCH)
    for start in progress(starts, "embedding", len(starts)):
        photos = standardise(torch.from_numpy(packed[rows[start : start + BATCH]]).to(device))  # (B, C, H, W)
        for view, seen in enumerate((photos, photos.flip(3))[: len(found)]):
            found[view, start : start + BATCH] = network(seen).cpu().numpy()  # (B, D)
    return found
