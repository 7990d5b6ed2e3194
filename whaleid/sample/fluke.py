"""One whale's fluke, drawn flat: the outline and the skin by which a person knows a humpback.

A fluke lies in coordinates of its own: x from -1 (left tip) to 1 (right tip), y upwards from the stem at -0.8 over
the notch near 0 to the tips. Everything here is the whale's; what a photo adds is in `photograph.py`.
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
LEFT, TOP, UNIT = -1.08, 0.6, 320 / 2.16
"""x and y of the drawing's upper left corner, and its pixels a unit."""


@dataclass(frozen=True)
class Fluke:
    """A fluke's drawing."""

    outline: Floats  # (points, 2): x and y around both lobes
    cover: Floats  # (HEIGHT, WIDTH) in 0..1: how much of a pixel is whale
    skin: Floats  # (HEIGHT, WIDTH) in 0..1: from black to white
    tint: Floats  # (3,) in 0..1: the colour of its white


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]) -> Floats:
    """Return noise of `shape`, about standard normal, with so many cells down and across."""
    grid = rng.standard_normal((max(2, round(cells[0])), max(2, round(cells[1])))).astype(np.float32)
    size = (shape[1], shape[0])
    return np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)) * 1.4


def draw_fluke(rng: np.random.Generator) -> Fluke:
    """Draw the fluke of one whale: the same state of `rng` gives the same whale."""
    # the lobes of a whale resemble each other, but for what happened to each
    low = np.array([0.02, 0.05, 0.02, -0.03, 0.00, 0.32, 0.40, 0.02])
    high = np.array([0.26, 0.16, 0.16, 0.36, 0.09, 0.52, 0.80, 0.14])
    shape = rng.uniform(low, high)
    rough = rng.uniform(0.0, 0.02, 2)
    lobes = []
    for side in (1, -1):
        own = np.clip(shape + rng.normal(0, 0.1, len(low)) * (high - low), low, high)
        lobes.append(_lobe(own, rough, rng) * (side, 1))
    outline = np.concatenate([lobes[0], lobes[1][::-1]])
    cover = _cover(outline, rng)
    skin = _scar(_pigment(cover, rng), rng)
    tint = np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.72, 1.0)], np.float32)
    return Fluke(outline, cover, skin, tint)


def _lobe(shape: Floats, rough: Floats, rng: np.random.Generator) -> Floats:
    """Return the right lobe's edge, (points, 2), from the notch over the tip to the stem."""
    depth, shoulder, hump, tip, hollow, breadth, taper, blunt = shape
    trailing = [
        (0.0, -depth),
        (shoulder, hump * 0.5),
        (0.45, hump),
        (0.8, (hump + tip) / 2 - hollow),
        (1.0, tip),
    ]
    leading = [
        (1.0, tip),
        (0.985, tip - blunt),
        (0.8, (hump + tip) / 2 - hollow - breadth * taper),
        (0.45, hump - breadth),
        (0.15, min(hump - breadth - 0.12, -0.45)),
        (0.07, -0.8),
    ]
    edge = _curve(trailing, 160)
    along = np.linspace(0, 1, len(edge))
    fade = np.sin(np.pi * along) ** 0.5
    for size, teeth in ((rough[0], 9), (rough[1] * 1.3, 34)):
        bumps = rng.standard_normal(teeth)
        edge[:, 1] += size * fade * np.interp(along, np.linspace(0, 1, teeth), bumps)
    return np.concatenate([edge, _curve(leading, 90)[1:]])


def _curve(points: list[tuple[float, float]], count: int) -> Floats:
    """Return `count` points of the smooth curve through `points`."""
    through = np.array(points)
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(through, axis=0).T))])
    return CubicSpline(length, through)(np.linspace(0, length[-1], count))


def _cover(outline: Floats, rng: np.random.Generator) -> Floats:
    """Fill the outline, less the pieces that are missing from the trailing edge."""
    fine = Image.new("L", (WIDTH * 2, HEIGHT * 2))
    draw = ImageDraw.Draw(fine)
    pixels = (outline - (LEFT, TOP)) * (UNIT * 2, -UNIT * 2)
    draw.polygon([(float(x), float(y)) for x, y in pixels], fill=255)
    half = len(outline) // 2
    for _ in range(rng.poisson(0.9)):
        x, y = pixels[rng.integers(15, 140) if rng.random() < 0.5 else 2 * half - rng.integers(15, 140) - 1]
        half_width, half_height = rng.uniform(5, 16), rng.uniform(6, 22)
        draw.ellipse((x - half_width, y - half_height, x + half_width, y + half_height), fill=0)
    return np.asarray(fine.reduce(2), np.float32) / 255


def _pigment(cover: Floats, rng: np.random.Generator) -> Floats:
    """Return the skin without scars, (HEIGHT, WIDTH) in 0..1."""
    shape = (HEIGHT, WIDTH)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x, y = x / UNIT + LEFT, TOP - y / UNIT
    half = smooth_noise(rng, (HEIGHT, WIDTH // 2), (5, 6))
    both = np.concatenate([half[:, ::-1], half], axis=1)
    alike = rng.uniform(0.2, 0.8)
    field = alike * both + (1 - alike) * smooth_noise(rng, shape, (5, 11))
    field += rng.uniform(-1.3, 1.3)
    field += rng.uniform(0, 0.6) * smooth_noise(rng, shape, (22, 36))
    # rays run from the stem to the trailing edge, as the skin grew
    rays = rng.standard_normal(70)
    field += rng.uniform(0, 0.7) * np.interp(np.arctan2(x, y + 1), np.linspace(-1.3, 1.3, 70), rays)
    for _ in range(rng.integers(1, 6)):
        at = rng.uniform((-0.85, -0.35), (0.85, 0.2))
        across, down = rng.uniform(0.05, 0.24, 2)
        spot = np.exp(-((((x - at[0]) / across) ** 2 + ((y - at[1]) / down) ** 2) ** 2))
        field += rng.choice((-2.2, 2.2)) * spot
    # most are dark along the edges, at the stem and along the midline
    inside = np.asarray(distance_transform_edt(cover[::2, ::2] > 0.5), np.float32).repeat(2, 0).repeat(2, 1)
    inside /= UNIT / 2
    field -= rng.uniform(0, 3) * np.exp(-inside / rng.uniform(0.02, 0.06))
    field -= rng.uniform(0.5, 3) * np.exp(-((x / rng.uniform(0.04, 0.16)) ** 2))
    field -= 4 * expit(-14 * (y + rng.uniform(0.35, 0.6)))
    white = expit(field / rng.uniform(0.06, 0.4))
    return np.asarray(0.05 + 0.85 * white, np.float32)


def _scar(skin: Floats, rng: np.random.Generator) -> Floats:
    """Draw scratches, tooth rakes, barnacle rings and speckles onto `skin`."""
    image = Image.fromarray(np.uint8(skin * 255))
    draw = ImageDraw.Draw(image)

    def place() -> Floats:
        return rng.uniform((0.08 * WIDTH, 0.15 * HEIGHT), (0.92 * WIDTH, 0.7 * HEIGHT))

    for _ in range(rng.poisson(rng.choice((5, 40, 120)))):
        (x, y), size = place(), rng.uniform(0.4, 1.6)
        draw.ellipse((x - size, y - size, x + size, y + size), fill=int(rng.choice((20, 215))))
    for _ in range(rng.poisson(2.5)):
        start, angle, length = place(), rng.uniform(0, 2 * np.pi), rng.uniform(20, 100)
        step = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        bow = np.array([-step[1], step[0]]) * rng.uniform(-0.3, 0.3)
        fill, width = int(rng.choice((15, 230, 230))), int(rng.integers(1, 4))
        for line in range(rng.choice((1, 1, 1, 4))):
            offset = np.array([-step[1], step[0]]) / length * 10 * line
            path = [start + offset + at for at in (-step, bow - step / 2, bow * 1.3, bow + step / 2, step)]
            draw.line([(float(a), float(b)) for a, b in path], fill=fill, width=width, joint="curve")
    for _ in range(rng.poisson(2)):
        (x, y), size = place(), rng.uniform(3, 8)
        draw.ellipse((x - size, y - size, x + size, y + size), outline=int(rng.choice((25, 210))), width=2)
    return gaussian_filter(np.asarray(image, np.float32) / 255, 0.6)
