"""Random changes of photos in training: position, light, blur, a hidden part. On the device of the batch."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TURN = math.radians(8)  # a fluke is photographed level, give or take a wave
SHEAR = 0.15  # photographed from the side
SCALE = 0.15  # the crop's margin differs
SHIFT = 0.08  # of the width and the height: a box is drawn by hand
GRADIENT = 0.5  # light from one side, in deviations of the photo
BLUR = 0.7  # how much of a photo at most is replaced by its blurred self
HIDDEN = 0.4  # the share of photos of which a rectangle is hidden: splash, glare, printed text
SMALLEST, LARGEST = 0.1, 0.4  # sides of that rectangle, as shares of the photo's
DRAWS = 14
"""Random numbers for each photo."""


def augment(photos: Tensor, draws: Tensor) -> Tensor:
    """Turn, shear, scale, shift, light and blur each photo of a batch at random, and hide a part of some.

    Args:
        photos: (B, C, H, W) float, standardised; on any device.
        draws: (B, `DRAWS`) float, uniform from 0 to 1, on the same device.

    Returns:
        (B, C, H, W) float; pixels from outside repeat the border, hidden ones are 0.
    """
    move, light, blur, hide = torch.split(draws, [6, 2, 1, 5], dim=1)
    return _hide(_blur(_light(_move(photos, move), light), blur), hide)


def _move(photos: Tensor, draws: Tensor) -> Tensor:
    aspect = photos.shape[3] / photos.shape[2]
    # grid_sample works in units of half the width and half the height, so a rotation must undo the aspect
    limits = torch.tensor([TURN, SHEAR, SCALE, SCALE, 2 * SHIFT, 2 * SHIFT], device=photos.device)
    turn, shear, scale_x, scale_y, shift_x, shift_y = ((2 * draws - 1) * limits).unbind(dim=1)  # (B,) each
    scale_x, scale_y, cos, sin = 1 + scale_x, 1 + scale_y, turn.cos(), turn.sin()
    rows = [
        torch.stack([cos * scale_x, (shear * cos - sin) * scale_y / aspect, shift_x], dim=1),
        torch.stack([sin * scale_x * aspect, (shear * sin + cos) * scale_y, shift_y], dim=1),
    ]
    return resample(photos, torch.stack(rows, dim=1))


def rotate_and_zoom(photos: Tensor, radians: float, zoom: float) -> Tensor:
    """Return photos (B, C, H, W) rotated about their middle and cropped to the middle `zoom` of each side, 0 to 1.

    Pixels from outside repeat the border.
    """
    batch, _, height, width = photos.shape
    aspect, cos, sin = width / height, zoom * math.cos(radians), zoom * math.sin(radians)
    return resample(photos, torch.tensor([[cos, -sin / aspect, 0], [sin * aspect, cos, 0]]).expand(batch, 2, 3))


def resample(photos: Tensor, matrix: Tensor) -> Tensor:
    """Sample photos at `matrix` (B, 2, 3) times each position, in units of half the width and half the height."""
    batch, _, height, width = photos.shape
    grid = F.affine_grid(matrix.to(photos), [batch, 1, height, width], align_corners=False)  # (B, H, W, 2)
    return F.grid_sample(photos, grid, padding_mode="border", align_corners=False)


def _light(photos: Tensor, draws: Tensor) -> Tensor:
    height, width = photos.shape[2:]
    slope_x, slope_y = ((2 * draws - 1) * GRADIENT).view(-1, 2, 1, 1, 1).unbind(dim=1)
    x = torch.linspace(-1, 1, width, device=photos.device)
    y = torch.linspace(-1, 1, height, device=photos.device).view(height, 1)
    return photos + slope_x * x + slope_y * y


def _blur(photos: Tensor, draws: Tensor) -> Tensor:
    blurred = F.avg_pool2d(photos, 3, stride=1, padding=1, count_include_pad=False)
    return photos.lerp(blurred, BLUR * draws.view(-1, 1, 1, 1))


def _hide(photos: Tensor, draws: Tensor) -> Tensor:
    """Random erasing: Zhong et al. 2020, "Random Erasing Data Augmentation"."""
    height, width = photos.shape[2:]
    chosen, y, x, *sides = draws.view(-1, 5, 1, 1, 1).unbind(dim=1)
    half_height, half_width = ((SMALLEST + (LARGEST - SMALLEST) * side) / 2 for side in sides)
    rows = (torch.arange(height, device=photos.device).view(height, 1) + 0.5) / height
    columns = (torch.arange(width, device=photos.device) + 0.5) / width
    hidden = (chosen < HIDDEN) & ((rows - y).abs() < half_height) & ((columns - x).abs() < half_width)
    return photos.masked_fill(hidden, 0.0)
