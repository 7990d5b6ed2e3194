"""The box of a fluke as sources give it, and as a catalogue has it."""

from collections.abc import Sequence
from dataclasses import dataclass

Corners = tuple[float, float, float, float, float]
"""x0, y0, x1, y1 as fractions of width and height, and the aspect; NaN where that is not known."""
OVERHANG = 1.5
"""Pixels by which a box may reach out of its photo: rounding causes as much, and it is cut off."""


@dataclass(frozen=True)
class Rectangle:
    """The box of a fluke as a source gives it."""

    corners: tuple[float, float, float, float]  # left, top, right and bottom of the upright photo
    pixels: bool  # whether corners are in pixels; otherwise they are fractions of width and height
    aspect: float | None = None  # width / height before the photo was squeezed, where it is known

    def as_fractions(self, width: int, height: int) -> Corners:
        """Return the box as fractions of a photo; what reaches out of it by `OVERHANG` or less is cut off."""
        fractions = []
        for corner, side in zip(self.corners, (width, height) * 2, strict=True):
            fraction = corner / side if self.pixels else corner
            inside = min(max(fraction, 0.0), 1.0)
            fraction = inside if abs(inside - fraction) * side <= OVERHANG else fraction
            fractions.append(float(f"{fraction:.6g}"))  # as it is written
        x0, y0, x1, y1 = fractions
        return x0, y0, x1, y1, width / height if self.aspect is None else self.aspect


def from_bbox(bbox: Sequence[float]) -> Rectangle:
    """Return the rectangle of `bbox`: x, y, width and height in pixels.

    Raises:
        TypeError, ValueError, OverflowError: it is not four numbers.
    """
    x, y, width, height = map(float, bbox)
    return Rectangle((x, y, x + width, y + height), True)


def holds_pixels(corners: Corners, width: int, height: int) -> bool:
    """Return whether a box lies inside of its photo and has a pixel's width and height at least."""
    x0, y0, x1, y1, _ = corners
    inside = 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    return inside and (x1 - x0) * width >= 1 and (y1 - y0) * height >= 1
