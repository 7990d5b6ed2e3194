"""Train a network to predict the boxes of flukes, and which photos are upside down."""

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
from whaleid.detection.network import BoxNetwork, turn_boxes
from whaleid.images.augment import resample
from whaleid.model.batches import shuffled_batches
from whaleid.model.network import standardise

if TYPE_CHECKING:
    from whaleid.config import Boxes

OUTSIDE = 0.1
"""How far a crop extends beyond an edge of the photo at most, as a share of its width or height."""
INSIDE = 0.2
"""How far it ends before an edge at most."""


def train(
    network: BoxNetwork,
    photos: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.float32],
    settings: Boxes,
    seed: int,
    device: torch.device,
) -> None:
    """Train all layers of `network` in place: one cycle of AdamW over random crops.

    A network that `turns` is trained on photos of which half are turned by 180 degrees. Photos that are upside down
    themselves are wrong examples; few of them do no harm, since training is too short to memorise them.

    Args:
        network: left on `device`.
        photos: (N, H, W, C), whole photos stretched to one size; two or more.
        boxes: (N, 5), the targets of the network.
        settings: the number of steps, the batch size and the learning rate.
        seed: of the order of photos and of their crops.
        device: where to compute.
    """
    order, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    network.to(device).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.lr, total_steps=settings.steps, pct_start=0.2
    )
    epochs = (shuffled_batches(np.arange(len(photos)), settings.batch_size, order) for _ in count())
    batches = islice(chain.from_iterable(epochs), settings.steps)
    for batch in progress(batches, "steps", settings.steps):
        inputs = standardise(torch.from_numpy(photos[batch]).to(device))  # (B, C, H, W)
        inputs, targets = random_crops(inputs, torch.from_numpy(boxes[batch]).to(device), generator)
        if network.turns:
            turned = (torch.rand(len(inputs), generator=generator) < 0.5).to(device)
            inputs, targets = turn(inputs, targets, turned)
        output = network(inputs)  # (B, 5 or 6)
        overlap = generalized_box_iou_loss(output[:, :4], targets[:, :4], reduction="mean")
        loss = overlap + F.smooth_l1_loss(output[:, :5], targets, beta=0.1)
        if network.turns:
            loss = loss + F.binary_cross_entropy_with_logits(output[:, 5], turned.float())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()


def random_crops(photos: Tensor, boxes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Crop each of `photos` (B, C, H, W) at random around its whole box of `boxes` (B, 5); mirror half of them.

    `generator` is on the CPU, so that every device draws the same.
    """
    draws = torch.rand(2, len(photos), 2, generator=generator).to(photos)
    mirrored = (torch.rand(len(photos), generator=generator) < 0.5).to(photos.device)
    low = draws[0] * (boxes[:, 0:2].clamp(max=INSIDE) + OUTSIDE) - OUTSIDE
    high = 1 + OUTSIDE - draws[1] * ((1 - boxes[:, 2:4]).clamp(max=INSIDE) + OUTSIDE)
    return crop(photos, boxes, low, high, mirrored)


def crop(photos: Tensor, boxes: Tensor, low: Tensor, high: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Crop each photo and stretch the crop to the photo's size; move its box accordingly.

    Args:
        photos: (B, C, H, W) float.
        boxes: (B, 5).
        low: (B, 2), left and top of the crops, as fractions of the photos; less than 0 is outside.
        high: (B, 2), right and bottom; more than 1 is outside.
        mirrored: (B,) bool, which crops to mirror left to right.

    Returns:
        The crops, of the photos' shape, and the boxes on them; beyond the photo, its border is repeated.
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


def turn(photos: Tensor, boxes: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
    """Turn those of `photos` (B, C, H, W), and of `boxes` (B, 5), by 180 degrees for which `turned` (B,) is true."""
    photos = torch.where(turned[:, None, None, None], photos.flip(-2, -1), photos)
    return photos, torch.where(turned[:, None], turn_boxes(boxes), boxes)
