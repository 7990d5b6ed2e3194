"""Take one photo of a drawn fluke: pose, framing, light, sea, splash, blur, printed text and JPEG compression."""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import map_coordinates, uniform_filter1d

from whaleid.sample.fluke import LEFT, TOP, UNIT, Floats, Fluke, smooth_noise

SEAS = np.array(
    [(0.10, 0.24, 0.45), (0.08, 0.33, 0.38), (0.32, 0.38, 0.44), (0.16, 0.20, 0.26), (0.45, 0.52, 0.58)],
    np.float32,
)
"""Colours of the sea as RGB, 0 to 1, from deep blue to overcast."""
CAPTIONS = ("North shore", "Survey", "Roll 12", "Station C", "Left bank", "Photo")
"""Texts printed on photos."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as fractions of the photo's width and height."""


@dataclass(frozen=True)
class Photo:
    """The file of a photo, and the box of its fluke."""

    jpeg: bytes
    box: Box  # of the visible part of the fluke


@dataclass(frozen=True)
class Pose:
    """The pose of the fluke in front of the camera."""

    pitch: float  # factor of the height; below 1, the fluke is foreshortened
    reach: Floats  # (2,): factor of the length of the right and the left lobe
    lift: Floats  # (2,): upward bend of the tip of the right and the left lobe
    vanish: Floats  # (2,): strength of the perspective to the right and upwards
    roll: float  # in radians

    def project(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Map coordinates of the fluke to coordinates of the picture, with y upwards."""
        lobe = (x < 0).astype(int)
        y = y * self.pitch + self.lift[lobe] * np.abs(x) ** 1.5
        x = x * self.reach[lobe]
        depth = 1 + self.vanish[0] * x + self.vanish[1] * y
        return _rotate(x / depth, y / depth, self.roll)

    def unproject(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Map coordinates of the picture to coordinates of the fluke: the inverse of `project`."""
        x, y = _rotate(x, y, -self.roll)
        depth = 1 - self.vanish[0] * x - self.vanish[1] * y
        x, y = x / depth, y / depth
        lobe = (x < 0).astype(int)
        x = x / self.reach[lobe]
        return x, (y - self.lift[lobe] * np.abs(x) ** 1.5) / self.pitch


def _rotate(x: Floats, y: Floats, angle: float) -> tuple[Floats, Floats]:
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos - y * sin, x * sin + y * cos


def photograph(fluke: Fluke, rng: np.random.Generator) -> Photo:
    """Take one photo, 128 to 224 pixels wide. The same state of `rng` gives the same bytes."""
    width = int(rng.integers(128, 225))
    height = round(width / rng.uniform(1.3, 2.3))
    shape = (height, width)
    pose = Pose(
        pitch=rng.uniform(0.7, 1.25),
        reach=rng.uniform(0.82, 1.0, 2).astype(np.float32),
        lift=(rng.uniform(-0.1, 0.6) + rng.normal(0, 0.06, 2)).astype(np.float32),
        vanish=rng.uniform(-0.2, 0.2, 2).astype(np.float32),
        roll=rng.normal(0, 0.12),
    )

    # framing: a random size and position of the part above the water
    outline = np.stack(pose.project(*fluke.outline.T))
    low, high = float(outline[1].min()), float(outline[1].max())
    water = low + (high - low) * rng.uniform(0.02, 0.3)
    visible = outline[:, outline[1] > water]
    extent = np.ptp(visible, axis=1)
    scale = rng.uniform(0.55, 0.97) * float(min(width / extent[0], 0.92 * height / extent[1]))
    left, top = (np.array([width, height]) - scale * extent) * rng.uniform((0.1, 0.1), (0.9, 0.7))
    row, column = np.mgrid[0:height, 0:width]
    x = ((column - left) / scale + visible[0].min()).astype(np.float32)
    y = ((top - row) / scale + high).astype(np.float32)

    u, v = pose.unproject(x, y)
    pixels = ((TOP - v) * UNIT, (u - LEFT) * UNIT)
    cover = map_coordinates(fluke.cover, pixels, order=1)
    skin = map_coordinates(fluke.skin, pixels, order=1, mode="nearest")
    swell = smooth_noise(rng, shape, (2, 9)) * 0.015 + smooth_noise(rng, shape, (2, 30)) * 0.01
    cover = cover * np.clip((y - water + swell) * scale, 0, 1)

    sea = (SEAS[rng.integers(len(SEAS))] * rng.uniform(0.7, 1.4) + rng.normal(0, 0.015, 3)).astype(np.float32)
    scene = _sea(shape, sea, rng)
    brightness = _illuminate(skin, x, y, rng)
    colour = brightness[..., None] * fluke.tint + rng.uniform(0, 0.12) * sea
    scene += cover[..., None] * (colour - scene)
    foam = _foam(x, y, water, rng)[..., None]
    scene += foam * (rng.uniform(0.8, 1.0) - scene)
    return Photo(_develop(scene, rng), _box(cover))


def _box(cover: Floats) -> Box:
    height, width = cover.shape
    rows, columns = (np.flatnonzero((cover > 0.5).any(axis=axis)) for axis in (1, 0))
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height


def _sea(shape: tuple[int, int], colour: Floats, rng: np.random.Generator) -> Floats:
    """Return waves, sometimes with the sky above them: (height, width, 3)."""
    height, width = shape
    waves = np.zeros(shape, np.float32)
    for wave, share in ((26, 0.5), (9, 0.45), (4, 0.35)):
        wavelength = wave * rng.uniform(2.0, 4.0)
        noise = smooth_noise(rng, shape, (height / wave / rng.uniform(0.7, 1.2), width / wavelength))
        waves += share * (noise if wave > 20 else 1 - np.abs(noise) * 1.3)
    # distant waves are closer together
    rows = np.linspace(0, 1, height) ** rng.uniform(0.6, 1.0) * (height - 1)
    waves = waves[rows.astype(int)]
    roughness = rng.uniform(0.05, 0.35)
    glints = np.clip(waves - rng.uniform(0.5, 1.6), 0, None) * rng.uniform(0, 0.4)
    haze = np.linspace(rng.uniform(0, 0.25), 0, height, dtype=np.float32)[:, None]
    scene: Floats = colour * (1 + roughness * waves)[..., None] + (glints + haze)[..., None]
    if rng.random() < 0.25:
        horizon = int(height * rng.uniform(0.05, 0.4))
        sky = rng.uniform(0.55, 0.95) * np.array((0.93, 0.97, 1.0), np.float32)
        scene[:horizon] = sky + smooth_noise(rng, (horizon, width), (3, 5))[..., None] * 0.03
    return scene


def _illuminate(skin: Floats, x: Floats, y: Floats, rng: np.random.Generator) -> Floats:
    """Light the skin from one side, with haze, varying contrast and the gloss of wet skin."""
    contrast, haze = rng.uniform(0.45, 1.0), rng.uniform(0, 0.15)
    slope = rng.normal(0, 0.3, 2).astype(np.float32)
    curvature = smooth_noise(rng, skin.shape, (3, 6)) * rng.uniform(0, 0.15)
    light = np.clip(1 + slope[0] * x + slope[1] * 2 * y + curvature, 0.35, 1.8)
    gloss = np.clip(smooth_noise(rng, skin.shape, (7, 9)) - 0.5, 0, None) * rng.uniform(0, 0.2)
    brightness: Floats = contrast * (1 - haze) * skin * light + haze + gloss * light
    return brightness


def _foam(x: Floats, y: Floats, water: float, rng: np.random.Generator) -> Floats:
    """Return the opacity of foam, 0 to 1: at the waterline of the fluke and, in some photos, as spray around it."""
    height, width = x.shape
    clumps = smooth_noise(rng, x.shape, (height / 16, width / 24)) * 0.5
    clumps += smooth_noise(rng, x.shape, (height / 5, width / 7)) * 0.35
    spray = smooth_noise(rng, x.shape, (height / 2, width / 2)) * 0.3
    centre = np.array((rng.normal(0, 0.15), water))
    splash = _gaussian(x, y, centre, rng.uniform((0.15, 0.02), (0.8, 0.14)))
    foam: Floats = np.clip(splash * (2.2 + clumps * 2 + spray) - 0.9, 0, 1)
    if rng.random() < 0.3:
        centre = rng.uniform((-0.8, water), (0.8, water + 0.5))
        cloud = _gaussian(x, y, centre, rng.uniform((0.15, 0.1), (0.5, 0.3)))
        foam = np.maximum(foam, np.clip(cloud * (0.9 + clumps + spray * 4) - 0.9, 0, 0.8))
    return foam


def _gaussian(x: Floats, y: Floats, centre: Floats, size: Floats) -> Floats:
    """Return a Gaussian with the value 1 at `centre` and the radii `size`, at which it falls to 1 / e."""
    values: Floats = np.exp(-(((x - centre[0]) / size[0]) ** 2) - ((y - centre[1]) / size[1]) ** 2)
    return values


def _develop(scene: Floats, rng: np.random.Generator) -> bytes:
    """Render the scene as a JPEG file, with the defects of cameras and sometimes printed text."""
    grey = scene.mean(axis=2, keepdims=True)
    scene = grey + (scene - grey) * rng.uniform(0.15, 0.8)
    scene = (scene - 0.4) * rng.uniform(0.7, 1.35) + rng.uniform(0.3, 0.5)
    if rng.random() < 0.2:
        scene = uniform_filter1d(scene, int(rng.integers(3, 7)), axis=int(rng.integers(2)))
    scene = scene + rng.standard_normal(scene.shape[:2], np.float32)[..., None] * rng.uniform(0.005, 0.04)
    image = Image.fromarray(np.uint8(np.clip(scene, 0, 1) * 255))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.1)))
    if rng.random() < 0.12:
        _print_caption(image, rng)
    if rng.random() < 0.15:
        image = image.convert("L")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(45, 93)))
    return file.getvalue()


def _print_caption(image: Image.Image, rng: np.random.Generator) -> None:
    """Print a number and a text along the lower edge, on a white strip or on the photo."""
    draw = ImageDraw.Draw(image)
    size = int(rng.integers(7, 10))
    text = f"#{rng.integers(10000):04d}  {CAPTIONS[rng.integers(len(CAPTIONS))]}"
    top = image.height - size - 4
    strip = rng.random() < 0.5
    if strip:
        draw.rectangle((0, top, image.width, image.height), fill=(245, 245, 245))
    draw.text((4, top + 1), text, fill=(20, 20, 20) if strip else (250, 240, 120), font=ImageFont.load_default(size))
