"""Embeddings of a batch of photos, by a trained network."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whaleid.images.augment import posed
from whaleid.model.network import Network, standardise


def prepare(network: nn.Module, device: torch.device) -> None:
    """Put `network` on `device`, in evaluation mode and the memory layout in which convolutions are fastest."""
    network.to(device).to(memory_format=torch.channels_last).eval()


@torch.inference_mode()
def embed_batch(network: Network, packed: Tensor, mirrored: bool, zoom: float = 1.0, tilt: float = 0.0) -> Tensor:
    """Return embeddings (V, B, D), float32 of unit length, of packed photos.

    Args:
        network: on the device of `packed`, in evaluation mode.
        packed: uint8 (B, H, W, C).
        mirrored: whether to embed mirror images as well: view 0 is the photos as they are, view 1 their mirror images.
        zoom: the middle part of a photo's sides that is embedded, 0 to 1.
        tilt: degrees; an embedding is the mean of those of the photo turned by this angle to either side.
    """
    angles = (math.radians(tilt), -math.radians(tilt)) if tilt else (0.0,)
    photos = standardise(packed)  # (B, C, H, W)
    views = []
    for view in (photos, photos.flip(3))[: 1 + mirrored]:
        poses = [posed(view, angle, zoom) if angle or zoom != 1 else view for angle in angles]
        views.append(F.normalize(torch.stack([network(pose) for pose in poses]).sum(dim=0)))
    return torch.stack(views)
