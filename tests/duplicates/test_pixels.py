"""How much of a picture another one cannot explain."""

import numpy as np
import pytest
from helpers.pictures import picture
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

from whaleid.duplicates.pixels import detail, high_pass, pixel_errors
from whaleid.images.fingerprint import SIDE, thumbnail


def error(left: Image.Image, right: Image.Image) -> float:
    return float(pixel_errors(thumbnail(left)[None], thumbnail(right)[None])[0])


def slow(picture: np.ndarray, target: np.ndarray) -> float:
    """One direction of `errors`, pixel by pixel and with numpy's own least squares."""
    one, other = (each / 256 - gaussian_filter(each / 256, 2) for each in (picture, target))
    down, across = np.gradient(one)
    terms, aim = [], []
    for y in range(32):
        for x in range(32):
            below, right = (y - 15.5) / 32, (x - 15.5) / 32
            terms.append([1, one[y, x], down[y, x], across[y, x], down[y, x] * below, across[y, x] * right])
            aim.append(other[y, x])
    terms, aim = np.array(terms), np.array(aim)
    kept = np.arange(1024)
    for _ in range(3):
        factors = np.linalg.lstsq(terms[kept], aim[kept], rcond=None)[0]
        squares = (aim - terms @ factors) ** 2
        kept = np.argsort(squares, kind="stable")[:973]  # without the worst 5 %
    share = squares[kept].sum() / ((aim[kept] - aim[kept].mean()) ** 2).sum()
    return min(share, 1.0) if factors[1] > 0 else 1.0


def lettered(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Return `image` with a white `box`."""
    copy = image.copy()
    ImageDraw.Draw(copy).rectangle(box, fill=255)
    return copy


@pytest.mark.parametrize(
    ("other", "value"),
    [
        (picture(1, (90, 64)), 0.0000917),
        (picture(1).crop((2, 1, 95, 64)), 0.004243),
        (picture(1).crop((6, 3, 96, 64)), 0.19293),
        (picture(1).crop((12, 6, 96, 64)), 0.85464),
        (lettered(picture(1), (10, 10, 40, 30)), 0.077337),
        (picture(3), 1),
    ],
)
def test_errors_are_those_of_a_slow_loop(other: Image.Image, value: float) -> None:
    left, right = thumbnail(picture(1)), thumbnail(other)
    expected = max(slow(left, right), slow(right, left))
    assert error(picture(1), other) == pytest.approx(expected, rel=1e-4)
    assert expected == pytest.approx(value, rel=1e-3)


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
    image = picture(1, (192, 128))
    assert error(image, lettered(image, (10, 110, 70, 116))) < 0.01


def test_other_pictures_have_a_large_error_in_any_order() -> None:
    thumbnails = np.stack([thumbnail(picture(seed)) for seed in range(20)])
    left, right = np.triu_indices(20, 1)
    values = pixel_errors(thumbnails[left], thumbnails[right])
    assert values.min() > 0.5
    assert values.max() <= 1
    assert np.array_equal(values, pixel_errors(thumbnails[right], thumbnails[left]))


def test_what_shows_nothing_resembles_nothing() -> None:
    plain = Image.new("L", (40, 30), 70)
    assert error(plain, plain) == 1
    assert error(plain, picture(1)) == 1


def test_detail_is_what_is_left_of_light_and_sky() -> None:
    sky = Image.linear_gradient("L").resize((300, 200)).point(lambda level: 80 + level // 2)
    thumbnails = np.stack([thumbnail(image) for image in (Image.new("L", (9, 9), 50), sky, picture(1))])
    assert high_pass(thumbnails).shape == (3, SIDE, SIDE)
    values = detail(thumbnails)
    assert values[0] == 0
    assert values[1] < 2
    pixels = thumbnails[2] / 256
    assert values[2] == pytest.approx((pixels - gaussian_filter(pixels, 2)).std(), rel=1e-5)


def test_the_detail_of_many_photos_is_that_of_each() -> None:
    thumbnails = np.stack([thumbnail(picture(seed, (32, 32))) for seed in range(3)])
    many = detail(np.concatenate([thumbnails] * 400))  # more than are in memory at a time
    assert many.reshape(400, 3) == pytest.approx(np.tile(detail(thumbnails), (400, 1)), rel=1e-5)


def test_pairs_that_are_compared_together_have_the_errors_of_each() -> None:
    left = np.stack([thumbnail(picture(1))] * 3)
    right = np.stack([thumbnail(picture(1).crop(box)) for box in ((2, 1, 95, 64), (6, 3, 96, 64), (12, 6, 96, 64))])
    alone = [pixel_errors(left[[pair]], right[[pair]])[0] for pair in range(3)]
    assert pixel_errors(left, right) == pytest.approx(alone, rel=1e-6)


def test_a_faint_picture_is_the_same_as_itself() -> None:
    small = thumbnail(picture(1))[None]
    faint = np.rint(30_000 + (small - 30_000.0) * (0.02 / detail(small))).astype(np.uint16)
    assert pixel_errors(faint, faint)[0] < 1e-3
