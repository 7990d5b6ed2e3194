"""Photos into embeddings, by a trained network."""

import numpy as np
import numpy.typing as npt
import torch

from whaleid.model.network import Network, standardise
from whaleid.progress import progress

BATCH = 64


@torch.inference_mode()
def embed(
    network: Network, packed: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], device: torch.device
) -> npt.NDArray[np.float32]:
    """Return (P, D) float32, rows of unit length: the embeddings of the photos at `rows` (P,) of `packed` (N, H, W, C).

    Leaves the network on `device`, in evaluation mode.
    """
    network.to(device).to(memory_format=torch.channels_last).eval()
    starts = range(0, len(rows), BATCH)
    found = [np.empty((0, network.features), dtype=np.float32)]
    for start in progress(starts, "embedding", len(starts)):
        photos = torch.from_numpy(packed[rows[start : start + BATCH]]).to(device)  # (B, H, W, C)
        embeddings, _ = network(standardise(photos))  # (B, D)
        found.append(embeddings.float().cpu().numpy())
    return np.concatenate(found)
