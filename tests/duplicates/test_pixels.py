"""Errors between pictures: the share of the variance that one does not explain of the other."""

import numpy as np
import pytest
from helpers.pictures import picture
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

from whaleid.duplicates.pixels import detail, high_pass, pixel_errors
from whaleid.images.fingerprint import SIDE, thumbnail


def error(left: Image.Image, right: Image.Image) -> float:
    return float(pixel_errors(thumbnail(left)[None], thumbnail(right)[None])[0])


def reference_error(picture: np.ndarray, target: np.ndarray) -> float:
    """Compute one direction of `pixel_errors` pixel by pixel, with numpy's least squares."""
    one, other = (pixels / 256 - gaussian_filter(pixels / 256, 2) for pixels in (picture, target))
    down, across = np.gradient(one)
    terms, values = [], []
    for y in range(32):
        for x in range(32):
            below, right = (y - 15.5) / 32, (x - 15.5) / 32
            terms.append([1, one[y, x], down[y, x], across[y, x], down[y, x] * below, across[y, x] * right])
            values.append(other[y, x])
    terms, values = np.array(terms), np.array(values)
    kept = np.arange(1024)
    for _ in range(3):
        factors = np.linalg.lstsq(terms[kept], values[kept], rcond=None)[0]
        squares = (values - terms @ factors) ** 2
        kept = np.argsort(squares, kind="stable")[:973]  # without the worst 5 %
    share = squares[kept].sum() / ((values[kept] - values[kept].mean()) ** 2).sum()
    return min(share, 1.0) if factors[1] > 0 else 1.0


def draw_box(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
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
        (draw_box(picture(1), (10, 10, 40, 30)), 0.077337),
        (picture(3), 1),
    ],
)
def test_errors_equal_a_reference_implementation(other: Image.Image, value: float) -> None:
    left, right = thumbnail(picture(1)), thumbnail(other)
    expected = max(reference_error(left, right), reference_error(right, left))
    assert error(picture(1), other) == pytest.approx(expected, rel=1e-4)
    assert expected == pytest.approx(value, rel=1e-3)


def test_the_same_picture_has_no_error_and_its_negative_has_an_error_of_one() -> None:
    assert error(picture(1), picture(1)) < 1e-6
    assert error(picture(1), ImageOps.invert(picture(1))) == 1


@pytest.mark.parametrize(
    ("copy", "limit"),
    [
        (picture(1, (192, 128)), 0.001),
        (picture(1, (48, 32)), 0.003),
        (ImageEnhance.Brightness(picture(1)).enhance(0.7), 0.001),
        (picture(1).point(lambda level: level // 2 + 60), 0.001),
        (picture(1).crop((2, 1, 94, 64)), 0.03),
    ],
)
def test_copies_have_a_small_error(copy: Image.Image, limit: float) -> None:
    assert error(picture(1), copy) < limit


def test_a_printed_date_has_little_effect_on_the_error() -> None:
    image = picture(1, (192, 128))
    assert error(image, draw_box(image, (10, 110, 70, 116))) < 0.01


def test_different_pictures_have_a_large_symmetric_error() -> None:
    thumbnails = np.stack([thumbnail(picture(seed)) for seed in range(20)])
    left, right = np.triu_indices(20, 1)
    values = pixel_errors(thumbnails[left], thumbnails[right])
    assert values.min() > 0.5
    assert values.max() <= 1
    assert np.array_equal(values, pixel_errors(thumbnails[right], thumbnails[left]))


def test_a_picture_without_detail_has_an_error_of_one() -> None:
    plain = Image.new("L", (40, 30), 70)
    assert error(plain, plain) == 1
    assert error(plain, picture(1)) == 1


def test_lighting_and_sky_have_no_detail() -> None:
    sky = Image.linear_gradient("L").resize((300, 200)).point(lambda level: 80 + level // 2)
    thumbnails = np.stack([thumbnail(image) for image in (Image.new("L", (9, 9), 50), sky, picture(1))])
    assert high_pass(thumbnails).shape == (3, SIDE, SIDE)
    values = detail(thumbnails)
    assert values[0] == 0
    assert values[1] < 2
    pixels = thumbnails[2] / 256
    assert values[2] == pytest.approx((pixels - gaussian_filter(pixels, 2)).std(), rel=1e-5)


def test_detail_is_the_same_in_several_blocks() -> None:
    thumbnails = np.stack([thumbnail(picture(seed, (32, 32))) for seed in range(3)])
    many = detail(np.concatenate([thumbnails] * 400))  # more than one block
    assert many.reshape(400, 3) == pytest.approx(np.tile(detail(thumbnails), (400, 1)), rel=1e-5)


def test_errors_of_a_batch_equal_errors_of_single_pairs() -> None:
    left = np.stack([thumbnail(picture(1))] * 3)
    right = np.stack([thumbnail(picture(1).crop(box)) for box in ((2, 1, 95, 64), (6, 3, 96, 64), (12, 6, 96, 64))])
    expected = [pixel_errors(left[[pair]], right[[pair]])[0] for pair in range(3)]
    assert pixel_errors(left, right) == pytest.approx(expected, rel=1e-6)


def test_a_faint_picture_has_no_error_to_itself() -> None:
    small = thumbnail(picture(1))[None]
    faint = np.rint(30_000 + (small - 30_000.0) * (0.02 / detail(small))).astype(np.uint16)
    assert pixel_errors(faint, faint)[0] < 1e-3
