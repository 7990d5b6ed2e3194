"""The thumbnail of a photo, and its perceptual hash: ImageHash's, bit by bit."""

import imagehash
import numpy as np
import pytest
from pictures import picture
from PIL import Image, ImageOps

from whaleid.dedup.hashing import SIDE, Orientation, frequencies, perceptual_hashes, thumbnail, to_bits, to_hex


@pytest.mark.parametrize(
    ("seed", "digits"), [(1, "81fea668926acdb2"), (2, "cd21591b21979de6"), (3, "f88186b0ff354347")]
)
def test_hashes_of_known_pictures(seed: int, digits: str) -> None:
    small = picture(seed).convert("RGB").resize((48, 32))
    assert to_hex(perceptual_hashes(np.stack([thumbnail(picture(seed)), thumbnail(small)]))) == [digits, digits]


def test_hashes_are_imagehashs_bit_by_bit() -> None:
    sizes = [(31, 90), (100, 100), (32, 32), (400, 210), (1, 1), (7, 3)]
    images = [picture(seed, sizes[seed % len(sizes)]) for seed in range(60)]
    images += [Image.new("L", (50, 40), level) for level in (0, 90, 255)]
    images += [Image.linear_gradient("L"), Image.radial_gradient("L"), picture(7).convert("CMYK").convert("RGB")]
    hashes = perceptual_hashes(np.stack([thumbnail(image) for image in images]))
    assert hashes.dtype == np.uint64
    assert to_hex(hashes) == [str(imagehash.phash(image)) for image in images]


def test_many_are_hashed_as_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    thumbnails = np.stack([thumbnail(picture(seed)) for seed in range(9)])
    alone = [perceptual_hashes(thumbnails[row : row + 1])[0] for row in range(9)]
    monkeypatch.setattr("whaleid.dedup.hashing.BLOCK", 4)
    assert perceptual_hashes(thumbnails).tolist() == alone
    assert perceptual_hashes(thumbnails[:0]).shape == (0,)


def test_frequencies_are_those_of_the_definition() -> None:
    small = thumbnail(picture(4)).astype(float)
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
