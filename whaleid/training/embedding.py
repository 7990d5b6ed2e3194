"""Photos into embeddings, by a trained network."""

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from whaleid.core.log import progress
from whaleid.images.augment import posed
from whaleid.model.network import Network, standardise
from whaleid.training.distributed import ALONE, World
from whaleid.training.loading import fetched

BATCH = 64


def ready(network: nn.Module, device: torch.device) -> None:
    """Put `network` on `device`, in evaluation mode and the memory layout that convolutions are fastest in."""
    network.to(device).to(memory_format=torch.channels_last).eval()


@torch.inference_mode()
def embedded(network: Network, taken: Tensor, mirrored: bool, zoom: float, tilt: float) -> Tensor:
    """Return (V, B, D) float32, the embeddings of packed photos `taken`, uint8 (B, H, W, C), as `embed` makes them.

    `network` is on the photos' device, in evaluation mode.
    """
    turns = (math.radians(tilt), -math.radians(tilt)) if tilt else (0.0,)
    photos = standardise(taken)  # (B, C, H, W)
    views = []
    for seen in (photos, photos.flip(3))[: 1 + mirrored]:
        poses = [posed(seen, turn, zoom) if turn or zoom != 1 else seen for turn in turns]
        views.append(F.normalize(torch.stack([network(pose) for pose in poses]).sum(dim=0)))
    return torch.stack(views)


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
    """Return (V, P, D) float32, rows of unit length: the embeddings of the photos at `rows` (P,) of `packed`.

    `packed` is (N, H, W, C). View 0 is the photos as they are; where `mirrored` is asked for, view 1 is their mirror
    images. Of each photo, the middle `zoom` of its sides is seen. Where there is a `tilt`, in degrees, an embedding is
    the mean of those of the photo turned by so much to either side. Of several processes, each computes a part and is
    returned the whole. Leaves the network on `device`, in evaluation mode.
    """
    ready(network, device)
    own = rows[world.part(len(rows))]
    found = np.empty((len(own), 1 + mirrored, network.embedding), dtype=np.float32)
    starts = range(0, len(own), BATCH)
    read = fetched(lambda start: [torch.from_numpy(packed[own[start : start + BATCH]])], starts, device)
    for start, (taken,) in zip(starts, progress(read, "embedding", len(starts)), strict=True):
        views = embedded(network, taken, mirrored, zoom, tilt)
        found[start : start + BATCH] = views.cpu().numpy().transpose(1, 0, 2)
    return np.ascontiguousarray(world.collected(found, len(rows)).transpose(1, 0, 2))
