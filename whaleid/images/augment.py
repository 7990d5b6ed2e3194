"""Data augmentation of training photos, on the device of the batch: position, light, blur and random erasing."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_ROTATION = math.radians(8)  # to either side: the camera is nearly level, except for the motion of the waves
MAX_SHEAR = 0.15  # a fluke may be photographed from the side
MAX_SCALING = 0.15  # of width and height separately, since the margins of boxes differ
MAX_SHIFT = 0.08  # as a share of width and height, since boxes are drawn by hand
MAX_LIGHT = 0.5  # brightness that a light gradient adds at the border, in standard deviations
MAX_BLUR = 0.7  # weight of the blurred photo in the result
ERASE_PROBABILITY = 0.4  # of erasing a rectangle, which imitates splash, glare and printed text
MIN_ERASED, MAX_ERASED = 0.1, 0.4  # sides of the rectangle, as shares of the photo's sides
NUM_DRAWS = 14
"""Number of random numbers per photo."""


def augment(photos: Tensor, draws: Tensor) -> Tensor:
    """Rotate, shear, scale, shift, light and blur each photo of a batch at random, and erase a rectangle of some.

    Args:
        photos: (B, C, H, W) float, standardised; on any device.
        draws: (B, `NUM_DRAWS`) float, uniform random numbers from 0 to 1, on the same device.

    Returns:
        (B, C, H, W) float. Pixels outside the photo repeat its border; erased pixels are 0.
    """
    position, light, blur, erase = torch.split(draws, [6, 2, 1, 5], dim=1)
    return _erase(_blur(_add_light(_transform(photos, position), light), blur), erase)


def _transform(photos: Tensor, draws: Tensor) -> Tensor:
    aspect = photos.shape[3] / photos.shape[2]
    # grid_sample works in units of half the width and half the height: correct the rotation for the aspect ratio
    maxima = MAX_ROTATION, MAX_SHEAR, MAX_SCALING, MAX_SCALING, 2 * MAX_SHIFT, 2 * MAX_SHIFT
    limits = torch.tensor(maxima, device=photos.device)
    rotation, shear, scale_x, scale_y, shift_x, shift_y = ((2 * draws - 1) * limits).unbind(dim=1)  # (B,) each
    scale_x, scale_y, cos, sin = 1 + scale_x, 1 + scale_y, rotation.cos(), rotation.sin()
    rows = [
        torch.stack([cos * scale_x, (shear * cos - sin) * scale_y / aspect, shift_x], dim=1),
        torch.stack([sin * scale_x * aspect, (shear * sin + cos) * scale_y, shift_y], dim=1),
    ]
    return resample(photos, torch.stack(rows, dim=1))


def rotate_and_zoom(photos: Tensor, radians: float, zoom: float) -> Tensor:
    """Rotate photos (B, C, H, W) about their centre, and crop them to the central share `zoom` (0 to 1) of each side.

    Pixels outside the photo repeat its border.
    """
    batch, _, height, width = photos.shape
    aspect, cos, sin = width / height, zoom * math.cos(radians), zoom * math.sin(radians)
    return resample(photos, torch.tensor([[cos, -sin / aspect, 0], [sin * aspect, cos, 0]]).expand(batch, 2, 3))


def resample(photos: Tensor, matrix: Tensor) -> Tensor:
    """Apply an affine transform: sample photos at `matrix` (B, 2, 3) times each position in half widths and heights."""
    batch, _, height, width = photos.shape
    grid = F.affine_grid(matrix.to(photos), [batch, 1, height, width], align_corners=False)  # (B, H, W, 2)
    return F.grid_sample(photos, grid, padding_mode="border", align_corners=False)


def _add_light(photos: Tensor, draws: Tensor) -> Tensor:
    height, width = photos.shape[2:]
    slope_x, slope_y = ((2 * draws - 1) * MAX_LIGHT).view(-1, 2, 1, 1, 1).unbind(dim=1)
    x = torch.linspace(-1, 1, width, device=photos.device)
    y = torch.linspace(-1, 1, height, device=photos.device).view(height, 1)
    return photos + slope_x * x + slope_y * y


def _blur(photos: Tensor, draws: Tensor) -> Tensor:
    blurred = F.avg_pool2d(photos, 3, stride=1, padding=1, count_include_pad=False)
    return photos.lerp(blurred, MAX_BLUR * draws.view(-1, 1, 1, 1))


def _erase(photos: Tensor, draws: Tensor) -> Tensor:
    """Erase a rectangle of some photos (Zhong et al. 2020, "Random Erasing Data Augmentation")."""
    height, width = photos.shape[2:]
    uniform, y, x, *sides = draws.view(-1, 5, 1, 1, 1).unbind(dim=1)
    half_height, half_width = ((MIN_ERASED + (MAX_ERASED - MIN_ERASED) * side) / 2 for side in sides)
    rows = (torch.arange(height, device=photos.device).view(height, 1) + 0.5) / height
    columns = (torch.arange(width, device=photos.device) + 0.5) / width
    erased = (uniform < ERASE_PROBABILITY) & ((rows - y).abs() < half_height) & ((columns - x).abs() < half_width)
    return photos.masked_fill(erased, 0.0)
