"""Copies of synthetic photos: each kind changes the photo as its name says, and the box stays on the fluke."""

import io

import numpy as np
import pytest
from PIL import Image

from whaleid.sample.copies import KINDS, make_copy
from whaleid.sample.fluke import draw_fluke
from whaleid.sample.photograph import Photo, photograph


@pytest.fixture(scope="module")
def photo() -> Photo:
    """Return a photo in colour."""
    return photograph(draw_fluke(np.random.default_rng(1)), np.random.default_rng(5))


def open_photo(photo: Photo) -> Image.Image:
    image = Image.open(io.BytesIO(photo.jpeg))
    image.load()
    return image


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_copy(photo: Photo, kind: str) -> None:
    first, again, other = (make_copy(photo, kind, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again
    assert (first == photo) == (kind == "exact")
    assert (first == other) == (kind == "exact")


def test_each_kind_changes_the_photo_as_its_name_says(photo: Photo) -> None:
    copies = {kind: open_photo(make_copy(photo, kind, np.random.default_rng(3))) for kind in KINDS}
    image = open_photo(photo)
    original = np.asarray(image.convert("L"), dtype=float)
    grey = {kind: np.asarray(copy.convert("L"), dtype=float) for kind, copy in copies.items()}
    assert (image.mode, copies["greyed"].mode) == ("RGB", "L")
    assert copies["resized"].width < image.width
    assert 1 <= image.width - copies["cropped"].width <= 8
    assert grey["brightened"].mean() > 1.05 * original.mean()
    assert np.abs(grey["recompressed"] - original).mean() < 8
    assert np.abs(grey["turned"][::-1, ::-1] - original).mean() < 8
    changed = np.abs(grey["lettered"] - original) > 60
    assert 0.0005 < changed.mean() < 0.1


def test_boxes_stay_on_the_fluke(photo: Photo) -> None:
    x0, y0, x1, y1 = photo.box
    assert make_copy(photo, "turned", np.random.default_rng(3)).box == pytest.approx((1 - x1, 1 - y1, 1 - x0, 1 - y0))
    assert make_copy(photo, "resized", np.random.default_rng(3)).box == photo.box
    cropped = make_copy(photo, "cropped", np.random.default_rng(3))
    width, height = open_photo(photo).size
    smaller = open_photo(cropped).size
    # the fluke keeps its size in pixels; fewer than four pixels are cut off to the left of it
    size_x, size_y = (cropped.box[2] - cropped.box[0]) * smaller[0], (cropped.box[3] - cropped.box[1]) * smaller[1]
    assert (size_x, size_y) == pytest.approx(((x1 - x0) * width, (y1 - y0) * height), abs=1e-6)
    assert 1 <= x0 * width - cropped.box[0] * smaller[0] < 4.001
    assert all(0 <= edge <= 1 for edge in cropped.box)
