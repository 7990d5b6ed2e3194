"""The thumbnail of a photo, and its perceptual hash: ImageHash's, bit by bit."""

import imagehash
import numpy as np
import pytest
from pictures import picture
from PIL import Image, ImageOps
from threadpoolctl import threadpool_limits

from whaleid.duplicates.hashing import SIDE, Orientation, frequencies, perceptual_hashes, thumbnail, to_bits, to_hex


def test_hashes_are_imagehashs_of_the_same_pixels_bit_by_bit() -> None:
    images = [picture(seed, (SIDE, SIDE)) for seed in range(60)]
    images += [Image.new("L", (SIDE, SIDE), level) for level in (0, 90, 255)]
    images += [Image.linear_gradient("L").resize((SIDE, SIDE)), Image.radial_gradient("L").resize((SIDE, SIDE))]
    hashes = perceptual_hashes(np.stack([thumbnail(image) for image in images]))
    assert hashes.dtype == np.uint64
    assert to_hex(hashes) == [str(imagehash.phash(image)) for image in images]


@pytest.mark.parametrize("size", [(96, 64), (100, 100), (1050, 600), (48, 70)])
def test_hashes_are_imagehashs_but_for_few_bits_at_other_sizes(size: tuple[int, int]) -> None:
    images = [picture(seed, size).convert("RGB") for seed in range(30)]
    hashes = perceptual_hashes(np.stack([thumbnail(image) for image in images]))
    others = [int(str(imagehash.phash(image)), 16) for image in images]
    apart = [bits ^ other for bits, other in zip(hashes.tolist(), others, strict=True)]
    assert max(bits.bit_count() for bits in apart) <= 4
    assert np.mean([bits == 0 for bits in apart]) > 0.6


@pytest.mark.parametrize("size", [(64, 96), (100, 33), (32, 32), (7, 3), (1, 1), (320, 45)])
def test_a_thumbnail_is_the_mean_of_each_cell(size: tuple[int, int]) -> None:
    pixels = np.asarray(picture(1, size), dtype=float)
    # as many copies of each pixel as make cells of whole pixels
    many = pixels.repeat(SIDE, axis=0).repeat(SIDE, axis=1)
    slow = many.reshape(SIDE, size[1], SIDE, size[0]).mean(axis=(1, 3))
    found = thumbnail(picture(1, size))
    assert (found.shape, found.dtype) == ((SIDE, SIDE), np.uint16)
    np.testing.assert_allclose(found / 256, slow, atol=0.05)


def test_a_thumbnail_does_not_depend_on_threads() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1201, 1999), dtype=np.uint8))
    with threadpool_limits(1):
        alone = thumbnail(image)
    assert np.array_equal(thumbnail(image), alone)


def test_many_are_hashed_as_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    thumbnails = np.stack([thumbnail(picture(seed)) for seed in range(9)])
    alone = [perceptual_hashes(thumbnails[row : row + 1])[0] for row in range(9)]
    monkeypatch.setattr("whaleid.duplicates.hashing.BLOCK", 4)
    assert perceptual_hashes(thumbnails).tolist() == alone
    assert perceptual_hashes(thumbnails[:0]).shape == (0,)


def test_frequencies_are_those_of_the_definition() -> None:
    small = thumbnail(picture(4)).astype(float) / 256
    place = np.arange(SIDE)
    wave = [np.cos(np.pi * k * (2 * place + 1) / (2 * SIDE)) for k in range(8)]
    slow = [
        4 * sum(small[y, x] * wave[v][y] * wave[u][x] for y in place for x in place) for v in range(8) for u in range(8)
    ]
    np.testing.assert_allclose(
        frequencies(thumbnail(picture(4))[None])[0], slow - np.median(slow), rtol=1e-9, atol=1e-6
    )


def test_hashes_become_digits_and_back() -> None:
    numbers = to_bits(["0000000000000000", "000000000000000f", "ffffffffffffffff"])
    assert numbers.dtype == np.uint64
    assert numbers.tolist() == [0, 15, 2**64 - 1]
    assert to_hex(numbers) == ["0000000000000000", "000000000000000f", "ffffffffffffffff"]


@pytest.mark.parametrize(
    ("orientation", "changed"),
    [
        (Orientation.UPRIGHT, lambda image: image),
        (Orientation.TURNED, lambda image: image.rotate(180)),
        (Orientation.MIRRORED, ImageOps.mirror),
        (Orientation.FLIPPED, ImageOps.flip),
    ],
)
def test_a_thumbnail_is_oriented_as_its_photo(orientation, changed) -> None:
    image = picture(5, (SIDE, SIDE))
    assert np.array_equal(orientation.of(thumbnail(image)[None])[0], thumbnail(changed(image)))
    twice = orientation.of(orientation.of(thumbnail(image)[None]))
    assert np.array_equal(twice[0], thumbnail(image))
