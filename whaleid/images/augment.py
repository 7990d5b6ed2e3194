"""Other photos of the same fluke: another stance, another light, blurred, partly hidden. On the batch's device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TURN = math.radians(8)  # a fluke is photographed level, give or take a wave
SHEAR = 0.15  # seen from the side
SCALE = 0.15  # the crop's margin differs
SHIFT = 0.08  # of the width and the height: a box is drawn by hand
GRADIENT = 0.5  # light from one side, in deviations of the photo
BLUR = 0.7  # how much of a photo at most is replaced by its blurred self
HIDDEN = 0.4  # the share of photos of which a rectangle is hidden: splash, glare, printed text
SMALLEST, LARGEST = 0.1, 0.4  # sides of that rectangle, as shares of the photo's


def augment(photos: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, shear, scale, shift, light and blur each photo of a batch at random, and hide a part of some.

    Args:
        photos: (B, C, H, W) float, standardised; on any device.
        generator: on the CPU, so that every device sees the same draws.

    Returns:
        (B, C, H, W) float; what comes into view from outside repeats the border, what is hidden is 0.
    """
    lit = _light(_move(photos, generator), generator)
    return _hide(_blur(lit, generator), generator)


def _draw(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _move(photos: Tensor, generator: torch.Generator) -> Tensor:
    batch, _, height, width = photos.shape

    def draw(spread: float) -> Tensor:
        return _draw(batch, -spread, spread, generator)

    turn, shear, aspect = draw(TURN), draw(SHEAR), width / height
    across, down = 1 + draw(SCALE), 1 + draw(SCALE)
    cos, sin = turn.cos(), turn.sin()
    # grid_sample works in units of half the width and half the height: a turn must undo the aspect
    rows = [
        torch.stack([cos * across, (shear * cos - sin) * down / aspect, draw(2 * SHIFT)], dim=1),
        torch.stack([sin * across * aspect, (shear * sin + cos) * down, draw(2 * SHIFT)], dim=1),
    ]
    return _resample(photos, torch.stack(rows, dim=1))


def posed(photos: Tensor, radians: float, share: float) -> Tensor:
    """Return photos (B, C, H, W) turned about their middle, and of them the middle `share` of each side.

    What comes into view from outside repeats the border.
    """
    batch, _, height, width = photos.shape
    aspect, cos, sin = width / height, share * math.cos(radians), share * math.sin(radians)
    return _resample(photos, torch.tensor([[cos, -sin / aspect, 0], [sin * aspect, cos, 0]]).expand(batch, 2, 3))


def _resample(photos: Tensor, matrix: Tensor) -> Tensor:
    """Return what lies at `matrix` (B, 2, 3) times each place, in units of half the width and half the height."""
    batch, _, height, width = photos.shape
    grid = F.affine_grid(matrix.to(photos), [batch, 1, height, width], align_corners=False)  # (B, H, W, 2)
    return F.grid_sample(photos, grid, padding_mode="border", align_corners=False)


def _light(photos: Tensor, generator: torch.Generator) -> Tensor:
    batch, _, height, width = photos.shape
    slope = _draw(2 * batch, -GRADIENT, GRADIENT, generator).to(photos).view(2, batch, 1, 1, 1)
    x = torch.linspace(-1, 1, width, device=photos.device)
    y = torch.linspace(-1, 1, height, device=photos.device).view(height, 1)
    return photos + slope[0] * x + slope[1] * y


def _blur(photos: Tensor, generator: torch.Generator) -> Tensor:
    share = _draw(len(photos), 0, BLUR, generator).to(photos).view(-1, 1, 1, 1)
    return photos.lerp(F.avg_pool2d(photos, 3, stride=1, padding=1, count_include_pad=False), share)


def _hide(photos: Tensor, generator: torch.Generator) -> Tensor:
    """Random erasing: Zhong et al. 2020, "Random Erasing Data Augmentation"."""
    batch, _, height, width = photos.shape
    chosen = (torch.rand(batch, generator=generator) < HIDDEN).to(photos.device)
    inside = chosen.view(-1, 1, 1, 1)
    for axis, length in ((2, height), (3, width)):
        shape = [1, 1, 1, 1]
        shape[axis] = length
        middle = _draw(batch, 0, 1, generator).to(photos).view(-1, 1, 1, 1)
        half = _draw(batch, SMALLEST / 2, LARGEST / 2, generator).to(photos).view(-1, 1, 1, 1)
        places = ((torch.arange(length, device=photos.device) + 0.5) / length).view(shape)
        inside = inside & ((places - middle).abs() < half)
    return photos.masked_fill(inside, 0.0)
