"""Learning where flukes lie, and which way is up, from photos whose boxes are known, and finding it on others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from whaleid.core.log import progress
from whaleid.detection.network import BoxNetwork
from whaleid.model.network import standardise
from whaleid.training.sampler import batches

if TYPE_CHECKING:
    from whaleid.config import Boxes

BATCH = 32
"""Photos that are looked at together when flukes are looked for."""
BEYOND = 0.1  # how far a view reaches beyond an edge of the photo at most, as a share of its width or height
CERTAIN = 0.95  # the probability of being upside down above which a photo is turned: a wrong turn costs more than none
WITHIN = 0.2  # how far it ends before an edge at most


def learn(
    network: BoxNetwork,
    photos: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.float32],
    settings: Boxes,
    seed: int,
    device: torch.device,
) -> None:
    """Train all layers of `network` in place: one cycle of AdamW over random views.

    A network that `turns` sees half of the views turned by 180 degrees and learns which. Photos that are upside down
    themselves teach it wrong; they have to be few, and then so few passes don't learn them by heart.

    Args:
        network: on any device; left on `device`.
        photos: (N, H, W, C), whole photos stretched to one size; two or more.
        boxes: (N, 5), as the network is to find them.
        settings: the steps of training, the photos of each, and the learning rate.
        seed: of the order of photos and of their views.
        device: where to compute.
    """
    order, draws = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    network.to(device).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.lr, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.lr, total_steps=settings.steps, pct_start=0.2
    )
    endless = _endless(len(photos), settings.batch_size, order)
    for batch in progress(islice(endless, settings.steps), "boxes learnt", settings.steps):
        inputs = standardise(torch.from_numpy(photos[batch]).to(device))  # (B, C, H, W)
        views, targets = random_views(inputs, torch.from_numpy(boxes[batch]).to(device), draws)
        if network.turns:
            turned = (torch.rand(len(views), generator=draws) < 0.5).to(device)
            views, targets = turn(views, targets, turned)
        found = network(views)  # (B, 5 or 6)
        overlap = generalized_box_iou_loss(found[:, :4], targets[:, :4], reduction="mean")
        loss = overlap + F.smooth_l1_loss(found[:, :5], targets, beta=0.1)
        if network.turns:
            loss = loss + F.binary_cross_entropy_with_logits(found[:, 5], turned.float())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        cycle.step()


def _endless(photos: int, size: int, order: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    while True:
        yield from batches(np.arange(photos), size, order)


def find(
    network: BoxNetwork, photos: npt.NDArray[np.uint8], device: torch.device
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the boxes (N, 5) float32 that `network` finds on `photos`, and how likely each is upside down: (N,).

    `photos` are (N, H, W, C), stretched as those it learnt from; the boxes lie on them as they come. A network that
    turns looks at each both ways up and takes the mean of its two answers; one that doesn't takes all for upright: 0.
    Leaves the network on `device`, in evaluation mode.
    """
    network.to(device).eval()
    answers = [np.empty((0, 6), dtype=np.float32)]
    starts = range(0, len(photos), BATCH)
    for start in progress(starts, "boxes found", len(starts)):
        answers.append(found_on(network, torch.from_numpy(photos[start : start + BATCH]).to(device)).cpu().numpy())
    together = np.concatenate(answers)
    return together[:, :5], together[:, 5]


@torch.inference_mode()
def found_on(network: BoxNetwork, photos: Tensor) -> Tensor:
    """Return (B, 6) what `find` finds on `photos`, uint8 (B, H, W, C) on the device of `network`."""
    inputs = standardise(photos)  # (B, C, H, W)
    found: Tensor = network(inputs)  # (B, 5 or 6)
    if not network.turns:
        return F.pad(found, (0, 1))
    turned = network(inputs.flip(-2, -1))
    sides = (found[:, :5] + _opposite(turned[:, :5])) / 2
    return torch.cat([sides, ((found[:, 5:] - turned[:, 5:]) / 2).sigmoid()], dim=1)


def aspects(
    network: BoxNetwork, boxes: npt.NDArray[np.float32], own: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return (N,) the width / height of the originals of photos, on which `boxes` (N, 5) were found.

    `own` (N,) are those of the photos as they come, which they have, unless they were squeezed.
    """
    return np.exp(boxes[:, 4].astype(np.float64)) if network.squeezed else own


def random_views(photos: Tensor, boxes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Look at each photo through a random window that holds its whole box, half of the time mirrored.

    Args:
        photos: (B, C, H, W) float; on any device.
        boxes: (B, 5).
        generator: on the CPU, so that every device sees the same draws.

    Returns:
        The views, of the photos' shape, and the boxes on them.
    """
    draw = torch.rand(2, len(photos), 2, generator=generator).to(photos)
    mirrored = (torch.rand(len(photos), generator=generator) < 0.5).to(photos.device)
    low = draw[0] * (boxes[:, 0:2].clamp(max=WITHIN) + BEYOND) - BEYOND
    high = 1 + BEYOND - draw[1] * ((1 - boxes[:, 2:4]).clamp(max=WITHIN) + BEYOND)
    return view(photos, boxes, low, high, mirrored)


def view(photos: Tensor, boxes: Tensor, low: Tensor, high: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Stretch a window of each photo over the whole, and say where the box lies then.

    Args:
        photos: (B, C, H, W) float.
        boxes: (B, 5).
        low: (B, 2), left and top of the windows, as fractions of the photos; less than 0 is outside.
        high: (B, 2), right and bottom; more than 1 is outside.
        mirrored: (B,) bool, which views to swap left and right.

    Returns:
        The views, of the photos' shape, and the boxes on them; what comes into view from outside repeats the border.
    """
    size = high - low
    sign = torch.where(mirrored, -1.0, 1.0)
    zero, shift = torch.zeros_like(sign), low + high - 1
    rows = [
        torch.stack([size[:, 0] * sign, zero, shift[:, 0]], dim=1),
        torch.stack([zero, size[:, 1], shift[:, 1]], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(photos.shape), align_corners=False)  # (B, H, W, 2)
    views = F.grid_sample(photos, grid, padding_mode="border", align_corners=False)
    left, top = ((boxes[:, 0:2] - low) / size).unbind(dim=1)
    right, bottom = ((boxes[:, 2:4] - low) / size).unbind(dim=1)
    left, right = torch.where(mirrored, 1 - right, left), torch.where(mirrored, 1 - left, right)
    aspect = boxes[:, 4] + (size[:, 0] / size[:, 1]).log()
    return views, torch.stack([left, top, right, bottom, aspect], dim=1)


def turn(photos: Tensor, boxes: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
    """Turn some photos by 180 degrees, which swaps up and down, and left and right, but mirrors nothing.

    Args:
        photos: (B, C, H, W).
        boxes: (B, 5).
        turned: (B,) bool, which ones.

    Returns:
        The photos and the boxes on them.
    """
    views = torch.where(turned[:, None, None, None], photos.flip(-2, -1), photos)
    return views, torch.where(turned[:, None], _opposite(boxes), boxes)


def _opposite(boxes: Tensor) -> Tensor:
    """Return where `boxes` (B, 5) lie once their photos are turned by 180 degrees."""
    return torch.cat([1 - boxes[:, 2:4], 1 - boxes[:, 0:2], boxes[:, 4:]], dim=1)
