"""Compute embeddings of photos with a trained network."""

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whaleid.core.log import progress
from whaleid.images.augment import rotate_and_zoom
from whaleid.model.device import stable_threads
from whaleid.model.network import Network, standardise

BATCH_SIZE = 64


def embed(
    network: Network,
    packed: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    mirrored: bool,
    zoom: float = 1.0,
    tilt: float = 0.0,
) -> npt.NDArray[np.float32]:
    """Compute embeddings (F, P, D), float32 of unit length, of the photos at `rows` (P,) of `packed` (N, H, W, C).

    For the other arguments and F, see `embed_batch`. The network is set to evaluation mode.
    """
    network.eval()
    device = network.classifier.weight.device
    embeddings = np.empty((1 + mirrored, len(rows), network.embedding_dim), dtype=np.float32)
    starts = range(0, len(rows), BATCH_SIZE)
    for start in progress(starts, "embedding", len(starts)):
        batch = torch.from_numpy(packed[rows[start : start + BATCH_SIZE]]).to(device)  # (B, H, W, C)
        embeddings[:, start : start + BATCH_SIZE] = embed_batch(network, batch, mirrored, zoom, tilt).cpu().numpy()
    return embeddings


def prepare(network: nn.Module, device: torch.device) -> None:
    """Move `network` to `device` and set evaluation mode and channels-last layout, the fastest for convolutions."""
    network.to(device).to(memory_format=torch.channels_last).eval()


@torch.inference_mode()
def embed_batch(network: Network, packed: Tensor, mirrored: bool, zoom: float = 1.0, tilt: float = 0.0) -> Tensor:
    """Compute embeddings (F, B, D), float32 of unit length, of packed photos.

    Args:
        network: on the device of `packed`, in evaluation mode.
        packed: uint8 (B, H, W, C).
        mirrored: also embed the mirrored photos. F is 2 (0: original photos, 1: mirrored photos), else 1.
        zoom: the central fraction of a photo's sides that is embedded, 0 to 1.
        tilt: an angle in degrees. If not 0, embeddings are averaged over rotations by plus and minus this angle.
    """
    angles = (math.radians(tilt), -math.radians(tilt)) if tilt else (0.0,)
    photos = standardise(packed)  # (B, C, H, W)
    embeddings = []
    with stable_threads(len(photos)):
        for flip in (photos, photos.flip(3))[: 1 + mirrored]:
            poses = [rotate_and_zoom(flip, angle, zoom) if angle or zoom != 1 else flip for angle in angles]
            embeddings.append(F.normalize(torch.stack([network(pose) for pose in poses]).sum(dim=0)))
    return torch.stack(embeddings)
