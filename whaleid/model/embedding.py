"""Embeddings of photos, by a trained network."""

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

BATCH = 64


def embed(
    network: Network,
    packed: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    mirrored: bool,
    zoom: float = 1.0,
    tilt: float = 0.0,
) -> npt.NDArray[np.float32]:
    """Return embeddings (F, P, D), float32 of unit length, of the photos at `rows` (P,) of `packed` (N, H, W, C).

    `mirrored`, `zoom` and `tilt` are those of `embed_batch`. Leaves the network in evaluation mode.
    """
    network.eval()
    device = network.classifier.weight.device
    embeddings = np.empty((1 + mirrored, len(rows), network.embedding), dtype=np.float32)
    starts = range(0, len(rows), BATCH)
    for start in progress(starts, "embedding", len(starts)):
        batch = torch.from_numpy(packed[rows[start : start + BATCH]]).to(device)  # (B, H, W, C)
        embeddings[:, start : start + BATCH] = embed_batch(network, batch, mirrored, zoom, tilt).cpu().numpy()
    return embeddings


def prepare(network: nn.Module, device: torch.device) -> None:
    """Put `network` on `device`, in evaluation mode and the memory layout in which convolutions are fastest."""
    network.to(device).to(memory_format=torch.channels_last).eval()


@torch.inference_mode()
def embed_batch(network: Network, packed: Tensor, mirrored: bool, zoom: float = 1.0, tilt: float = 0.0) -> Tensor:
    """Return embeddings (F, B, D), float32 of unit length, of packed photos.

    Args:
        network: on the device of `packed`, in evaluation mode.
        packed: uint8 (B, H, W, C).
        mirrored: whether to embed mirror images as well: flip 0 is the photo as it is, flip 1 its mirror image.
        zoom: the middle part of a photo's sides that is embedded, 0 to 1.
        tilt: degrees; an embedding is the mean of those of the photo turned by this angle to either side.
    """
    angles = (math.radians(tilt), -math.radians(tilt)) if tilt else (0.0,)
    photos = standardise(packed)  # (B, C, H, W)
    embeddings = []
    with stable_threads(len(photos)):
        for flipped in (photos, photos.flip(3))[: 1 + mirrored]:
            poses = [rotate_and_zoom(flipped, angle, zoom) if angle or zoom != 1 else flipped for angle in angles]
            embeddings.append(F.normalize(torch.stack([network(pose) for pose in poses]).sum(dim=0)))
    return torch.stack(embeddings)
