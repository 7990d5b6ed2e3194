"""How much of a picture another one cannot explain."""

import numpy as np
import pytest
from helpers.pictures import picture
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

from whaleid.duplicates.pixels import BLUR, FITS, TRIMMED, detail, details, errors
from whaleid.images.fingerprint import SIDE, thumbnail


def error(left: Image.Image, right: Image.Image) -> float:
    return float(errors(thumbnail(left)[None], thumbnail(right)[None])[0])


def slow(picture: np.ndarray, target: np.ndarray) -> float:
    """One direction of `errors`, pixel by pixel and with numpy's own least squares."""
    one, other = (each / 256 - gaussian_filter(each / 256, BLUR) for each in (picture, target))
    down, across = np.gradient(one)
    rows, wanted = [], []
    for y in range(SIDE):
        for x in range(SIDE):
            below, right = (y - (SIDE - 1) / 2) / SIDE, (x - (SIDE - 1) / 2) / SIDE
            rows.append([1, one[y, x], down[y, x], across[y, x], down[y, x] * below, across[y, x] * right])
            wanted.append(other[y, x])
    terms, aim = np.array(rows), np.array(wanted)
    kept = np.arange(SIDE * SIDE)
    for _ in range(FITS):
        factors = np.linalg.lstsq(terms[kept], aim[kept], rcond=None)[0]
        squares = (aim - terms @ factors) ** 2
        kept = np.argsort(squares, kind="stable")[: round((1 - TRIMMED) * SIDE * SIDE)]
    share = squares[kept].sum() / ((aim[kept] - aim[kept].mean()) ** 2).sum()
    return min(share, 1.0) if factors[1] > 0 else 1.0


@pytest.mark.parametrize("other", [picture(2), picture(1, (90, 64)), picture(1).crop((2, 1, 95, 64)), picture(3)])
def test_errors_are_those_of_a_slow_loop(other: Image.Image) -> None:
    left, right = thumbnail(picture(1)), thumbnail(other)
    both = max(slow(left, right), slow(right, left))
    assert error(picture(1), other) == pytest.approx(both, rel=2e-3, abs=2e-5)


def test_the_same_picture_has_no_error_and_a_negative_all() -> None:
    assert error(picture(1), picture(1)) < 1e-6
    assert error(picture(1), ImageOps.invert(picture(1))) == 1


@pytest.mark.parametrize(
    ("copy", "most"),
    [
        (picture(1, (192, 128)), 0.001),
        (picture(1, (48, 32)), 0.003),
        (ImageEnhance.Brightness(picture(1)).enhance(0.7), 0.001),
        (picture(1).point(lambda level: level // 2 + 60), 0.001),
        (picture(1).crop((2, 1, 94, 64)), 0.03),
    ],
)
def test_copies_have_a_small_error(copy: Image.Image, most: float) -> None:
    assert error(picture(1), copy) < most


def test_letters_on_a_copy_hardly_count() -> None:
    lettered = picture(1, (192, 128))
    ImageDraw.Draw(lettered).rectangle((10, 110, 70, 116), fill=255)
    assert error(picture(1, (192, 128)), lettered) < 0.01


def test_other_pictures_have_a_large_error() -> None:
    thumbnails = np.stack([thumbnail(picture(seed)) for seed in range(40)])
    left, right = np.triu_indices(40, 1)
    found = errors(thumbnails[left], thumbnails[right])
    assert found.min() > 0.5
    assert found.max() <= 1


def test_the_order_and_the_block_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    left = np.stack([thumbnail(picture(seed)) for seed in range(7)])
    right = np.stack([thumbnail(picture(seed // 2)) for seed in range(7)])
    found = errors(left, right)
    assert np.array_equal(found, errors(right, left))
    monkeypatch.setattr("whaleid.duplicates.pixels.BLOCK", 3)
    np.testing.assert_allclose(errors(left, right), found, rtol=1e-3, atol=1e-6)
    assert errors(left[:0], right[:0]).shape == (0,)


def test_what_shows_nothing_resembles_nothing() -> None:
    plain = Image.new("L", (40, 30), 70)
    assert error(plain, plain) == 1
    assert error(plain, picture(1)) == 1


def test_detail_is_what_is_left_of_light_and_sky() -> None:
    sky = Image.linear_gradient("L").resize((300, 200)).point(lambda level: 80 + level // 2)
    assert details(thumbnail(picture(1))[None]).shape == (1, SIDE, SIDE)
    found = detail(np.stack([thumbnail(image) for image in (Image.new("L", (9, 9), 50), sky, picture(1))]))
    assert found[0] == 0
    assert found[1] < 2
    assert found[2] > 10
