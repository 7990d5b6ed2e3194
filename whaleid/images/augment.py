"""Other photos of the same fluke: another stance, another light. On the whole batch, on its device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TURN = math.radians(8)  # a fluke is photographed level, give or take a wave
SHEAR = 0.15  # seen from the side
SCALE = 0.15  # the crop's margin differs
SHIFT = 0.08  # of the width and the height: a box is drawn by hand
GRADIENT = 0.5  # light from one side, in deviations of the photo


def augment(photos: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, shear, scale, shift and light each photo of a batch at random.

    Args:
        photos: (B, C, H, W) float, standardised; on any device.
        generator: on the CPU, so that every device sees the same draws.

    Returns:
        (B, C, H, W) float; what comes into view from outside repeats the border.
    """
    batch, _, height, width = photos.shape

    def draw(spread: float) -> Tensor:
        return (torch.rand(batch, generator=generator) * 2 - 1) * spread

    turn, shear, aspect = draw(TURN), draw(SHEAR), width / height
    across, down = 1 + draw(SCALE), 1 + draw(SCALE)
    cos, sin = turn.cos(), turn.sin()
    # grid_sample works in units of half the width and half the height: a turn must undo the aspect
    rows = [
        torch.stack([cos * across, (shear * cos - sin) * down / aspect, draw(2 * SHIFT)], dim=1),
        torch.stack([sin * across * aspect, (shear * sin + cos) * down, draw(2 * SHIFT)], dim=1),
    ]
    matrix = torch.stack(rows, dim=1).to(photos)  # (B, 2, 3)
    grid = F.affine_grid(matrix, [batch, 1, height, width], align_corners=False)  # (B, H, W, 2)
    moved = F.grid_sample(photos, grid, padding_mode="border", align_corners=False)
    slope_x, slope_y = draw(GRADIENT).to(photos), draw(GRADIENT).to(photos)
    x = torch.linspace(-1, 1, width, device=photos.device).view(1, 1, 1, width)
    y = torch.linspace(-1, 1, height, device=photos.device).view(1, 1, height, 1)
    return moved + slope_x.view(-1, 1, 1, 1) * x + slope_y.view(-1, 1, 1, 1) * y
