"""Train the box network."""

from __future__ import annotations

from itertools import chain, count, islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from whaleid.core.log import progress
from whaleid.detection.network import BoxNetwork, rotate_boxes
from whaleid.images.augment import resample
from whaleid.model.batches import shuffled_batches
from whaleid.model.network import standardise

if TYPE_CHECKING:
    from whaleid.config import Boxes

MAX_OUTSIDE = 0.1
"""Maximum distance of a crop's edge outside the photo, as a share of the photo's width or height."""
MAX_INSIDE = 0.2
"""Maximum distance of a crop's edge from the photo's edge, inside the photo, as a share of its width or height."""


def train(
    network: BoxNetwork,
    photos: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.float32],
    settings: Boxes,
    seed: int,
    device: torch.device,
) -> None:
    """Train all layers of `network` in place, with AdamW, a one-cycle schedule and random crops.

    The loss of a box is its generalised IoU loss (Rezatofighi et al. 2019) plus a smooth L1 loss.

    If the network `turns`, half of the crops are rotated by 180 degrees. Photos that are upside down in the catalogue
    are mislabelled examples. A few of them do no harm, because training is too short to memorise them.

    Args:
        network: is moved to `device`.
        photos: (N, H, W, C) uint8, whole photos stretched to one size; N is at least 2.
        boxes: (N, 5) float32, the targets: the columns of `BoxNetwork.forward`.
        settings: the number of steps, the batch size and the maximum learning rate.
        seed: seeds the order of photos and their crops.
        device: the device to train on.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    network.to(device).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.lr, total_steps=settings.steps, pct_start=0.2
    )
    epochs = (shuffled_batches(np.arange(len(photos)), settings.batch_size, rng) for _ in count())
    batches = islice(chain.from_iterable(epochs), settings.steps)
    for batch in progress(batches, "steps", settings.steps):
        inputs = standardise(torch.from_numpy(photos[batch]).to(device))  # (B, C, H, W)
        inputs, targets = random_crops(inputs, torch.from_numpy(boxes[batch]).to(device), generator)
        if network.turns:
            rotated = (torch.rand(len(inputs), generator=generator) < 0.5).to(device)
            inputs, targets = rotate(inputs, targets, rotated)
        output = network(inputs)  # (B, 5 or 6)
        iou_loss = generalized_box_iou_loss(output[:, :4], targets[:, :4], reduction="mean")
        loss = iou_loss + F.smooth_l1_loss(output[:, :5], targets, beta=0.1)
        if network.turns:
            loss = loss + F.binary_cross_entropy_with_logits(output[:, 5], rotated.float())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()


def random_crops(photos: Tensor, boxes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Crop `photos` (B, C, H, W) at random, so that each crop contains the whole box of `boxes` (B, 5); mirror half.

    `generator` is on the CPU, so that crops are the same on all devices.
    """
    draws = torch.rand(2, len(photos), 2, generator=generator).to(photos)
    mirrored = (torch.rand(len(photos), generator=generator) < 0.5).to(photos.device)
    low = draws[0] * (boxes[:, 0:2].clamp(max=MAX_INSIDE) + MAX_OUTSIDE) - MAX_OUTSIDE
    high = 1 + MAX_OUTSIDE - draws[1] * ((1 - boxes[:, 2:4]).clamp(max=MAX_INSIDE) + MAX_OUTSIDE)
    return crop(photos, boxes, low, high, mirrored)


def crop(photos: Tensor, boxes: Tensor, low: Tensor, high: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Crop each photo, stretch the crop to the size of the photo, and transform its box accordingly.

    Args:
        photos: (B, C, H, W) float.
        boxes: (B, 5).
        low: (B, 2), left and top of the crops, as fractions of the photos; values below 0 are outside the photo.
        high: (B, 2), right and bottom; values above 1 are outside the photo.
        mirrored: (B,) bool, which crops to mirror horizontally.

    Returns:
        The crops (B, C, H, W) and their boxes (B, 5). Outside a photo, its border pixels are repeated.
    """
    size = high - low
    sign = torch.where(mirrored, -1.0, 1.0)
    zero, shift = torch.zeros_like(sign), low + high - 1
    rows = [
        torch.stack([size[:, 0] * sign, zero, shift[:, 0]], dim=1),
        torch.stack([zero, size[:, 1], shift[:, 1]], dim=1),
    ]
    left, top = ((boxes[:, 0:2] - low) / size).unbind(dim=1)
    right, bottom = ((boxes[:, 2:4] - low) / size).unbind(dim=1)
    left, right = torch.where(mirrored, 1 - right, left), torch.where(mirrored, 1 - left, right)
    aspect = boxes[:, 4] + (size[:, 0] / size[:, 1]).log()
    return resample(photos, torch.stack(rows, dim=1)), torch.stack([left, top, right, bottom, aspect], dim=1)


def rotate(photos: Tensor, boxes: Tensor, rotated: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate `photos` (B, C, H, W) and their `boxes` (B, 5) by 180 degrees where `rotated` (B,) is true."""
    photos = torch.where(rotated[:, None, None, None], photos.flip(-2, -1), photos)
    return photos, torch.where(rotated[:, None], rotate_boxes(boxes), boxes)
