"""Draw the fluke of a whale, flat: its outline and the pattern of its skin.

Coordinates of a fluke: x runs from -1 (left tip) to 1 (right tip); y runs upwards, from the stem at -0.8 past the notch
near 0 to the tips. This module draws what identifies the whale; `photograph.py` adds what varies between photos.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.special import expit

Floats = NDArray[np.floating]

WIDTH, HEIGHT = 320, 208
"""Size of the drawing, in pixels."""
LEFT, TOP, UNIT = -1.08, 0.6, 320 / 2.16
"""Coordinates of the upper left corner of the drawing, and its pixels per unit of the coordinates."""


@dataclass(frozen=True)
class Fluke:
    """A drawn fluke."""

    outline: Floats  # (points, 2): x and y around both lobes
    cover: Floats  # (HEIGHT, WIDTH), 0 to 1: share of each pixel that the fluke covers
    skin: Floats  # (HEIGHT, WIDTH), 0 (black) to 1 (white)
    tint: Floats  # (3,), 0 to 1: the colour of white skin, as RGB


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]) -> Floats:
    """Return smooth noise of `shape`, about standard normal; `cells` is the number of random values along each axis."""
    grid = rng.standard_normal((max(2, round(cells[0])), max(2, round(cells[1])))).astype(np.float32)
    size = (shape[1], shape[0])
    return np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)) * 1.4


def draw_fluke(rng: np.random.Generator) -> Fluke:
    """Draw the fluke of one whale. The same state of `rng` gives the same whale."""
    # limits of the shape of a lobe, see `_lobe`; the two lobes of a whale are similar, with individual variation
    low = np.array([0.02, 0.05, 0.02, -0.03, 0.00, 0.32, 0.40, 0.02])
    high = np.array([0.26, 0.16, 0.16, 0.36, 0.09, 0.52, 0.80, 0.14])
    shape = rng.uniform(low, high)
    roughness = rng.uniform(0.0, 0.02, 2)
    lobes = []
    for side in (1, -1):
        varied = np.clip(shape + rng.normal(0, 0.1, len(low)) * (high - low), low, high)
        lobes.append(_lobe(varied, roughness, rng) * (side, 1))
    outline = np.concatenate([lobes[0], lobes[1][::-1]])
    cover = _cover(outline, rng)
    skin = _scar(_pigment(cover, rng), rng)
    tint = np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.72, 1.0)], np.float32)
    return Fluke(outline, cover, skin, tint)


def _lobe(shape: Floats, roughness: Floats, rng: np.random.Generator) -> Floats:
    """Return the edge of the right lobe, (points, 2), from the notch past the tip to the stem."""
    depth, shoulder, hump, tip, hollow, breadth, taper, bluntness = shape
    trailing = [
        (0.0, -depth),
        (shoulder, hump * 0.5),
        (0.45, hump),
        (0.8, (hump + tip) / 2 - hollow),
        (1.0, tip),
    ]
    leading = [
        (1.0, tip),
        (0.985, tip - bluntness),
        (0.8, (hump + tip) / 2 - hollow - breadth * taper),
        (0.45, hump - breadth),
        (0.15, min(hump - breadth - 0.12, -0.45)),
        (0.07, -0.8),
    ]
    edge = _curve(trailing, 160)
    fraction = np.linspace(0, 1, len(edge))
    fade = np.sin(np.pi * fraction) ** 0.5
    for size, teeth in ((roughness[0], 9), (roughness[1] * 1.3, 34)):
        bumps = rng.standard_normal(teeth)
        edge[:, 1] += size * fade * np.interp(fraction, np.linspace(0, 1, teeth), bumps)
    return np.concatenate([edge, _curve(leading, 90)[1:]])


def _curve(points: list[tuple[float, float]], count: int) -> Floats:
    """Return `count` points on the cubic spline through `points`."""
    knots = np.array(points)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(knots, axis=0).T))])
    return CubicSpline(length, knots)(np.linspace(0, length[-1], count))


def _cover(outline: Floats, rng: np.random.Generator) -> Floats:
    """Fill the outline, except for pieces missing from the trailing edge."""
    canvas = Image.new("L", (WIDTH * 2, HEIGHT * 2))
    draw = ImageDraw.Draw(canvas)
    pixels = (outline - (LEFT, TOP)) * (UNIT * 2, -UNIT * 2)
    draw.polygon([(float(x), float(y)) for x, y in pixels], fill=255)
    half = len(outline) // 2
    for _ in range(rng.poisson(0.9)):
        x, y = pixels[rng.integers(15, 140) if rng.random() < 0.5 else 2 * half - rng.integers(15, 140) - 1]
        half_width, half_height = rng.uniform(5, 16), rng.uniform(6, 22)
        draw.ellipse((x - half_width, y - half_height, x + half_width, y + half_height), fill=0)
    return np.asarray(canvas.reduce(2), np.float32) / 255


def _pigment(cover: Floats, rng: np.random.Generator) -> Floats:
    """Return the skin without scars, (HEIGHT, WIDTH), 0 to 1."""
    shape = (HEIGHT, WIDTH)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x, y = x / UNIT + LEFT, TOP - y / UNIT
    half = smooth_noise(rng, (HEIGHT, WIDTH // 2), (5, 6))
    symmetric = np.concatenate([half[:, ::-1], half], axis=1)
    symmetry = rng.uniform(0.2, 0.8)
    field = symmetry * symmetric + (1 - symmetry) * smooth_noise(rng, shape, (5, 11))
    field += rng.uniform(-1.3, 1.3)
    field += rng.uniform(0, 0.6) * smooth_noise(rng, shape, (22, 36))
    # rays run from the stem to the trailing edge, in the direction of growth
    rays = rng.standard_normal(70)
    field += rng.uniform(0, 0.7) * np.interp(np.arctan2(x, y + 1), np.linspace(-1.3, 1.3, 70), rays)
    for _ in range(rng.integers(1, 6)):
        centre = rng.uniform((-0.85, -0.35), (0.85, 0.2))
        size_x, size_y = rng.uniform(0.05, 0.24, 2)
        spot = np.exp(-((((x - centre[0]) / size_x) ** 2 + ((y - centre[1]) / size_y) ** 2) ** 2))
        field += rng.choice((-2.2, 2.2)) * spot
    # most flukes are dark along the edges, at the stem and along the midline
    depth = np.asarray(distance_transform_edt(cover[::2, ::2] > 0.5), np.float32).repeat(2, 0).repeat(2, 1)
    depth /= UNIT / 2
    field -= rng.uniform(0, 3) * np.exp(-depth / rng.uniform(0.02, 0.06))
    field -= rng.uniform(0.5, 3) * np.exp(-((x / rng.uniform(0.04, 0.16)) ** 2))
    field -= 4 * expit(-14 * (y + rng.uniform(0.35, 0.6)))
    white = expit(field / rng.uniform(0.06, 0.4))
    return np.asarray(0.05 + 0.85 * white, np.float32)


def _scar(skin: Floats, rng: np.random.Generator) -> Floats:
    """Draw scratches, tooth rakes, barnacle rings and speckles onto `skin`."""
    image = Image.fromarray(np.uint8(skin * 255))
    draw = ImageDraw.Draw(image)

    def position() -> Floats:
        return rng.uniform((0.08 * WIDTH, 0.15 * HEIGHT), (0.92 * WIDTH, 0.7 * HEIGHT))

    for _ in range(rng.poisson(rng.choice((5, 40, 120)))):
        (x, y), size = position(), rng.uniform(0.4, 1.6)
        draw.ellipse((x - size, y - size, x + size, y + size), fill=int(rng.choice((20, 215))))
    for _ in range(rng.poisson(2.5)):
        start, angle, length = position(), rng.uniform(0, 2 * np.pi), rng.uniform(20, 100)
        step = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        bow = np.array([-step[1], step[0]]) * rng.uniform(-0.3, 0.3)
        fill, width = int(rng.choice((15, 230, 230))), int(rng.integers(1, 4))
        for line in range(rng.choice((1, 1, 1, 4))):
            offset = np.array([-step[1], step[0]]) / length * 10 * line
            path = [start + offset + point for point in (-step, bow - step / 2, bow * 1.3, bow + step / 2, step)]
            draw.line([(float(a), float(b)) for a, b in path], fill=fill, width=width, joint="curve")
    for _ in range(rng.poisson(2)):
        (x, y), size = position(), rng.uniform(3, 8)
        draw.ellipse((x - size, y - size, x + size, y + size), outline=int(rng.choice((25, 210))), width=2)
    return gaussian_filter(np.asarray(image, np.float32) / 255, 0.6)
