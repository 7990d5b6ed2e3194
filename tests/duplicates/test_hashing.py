"""Perceptual hashes are the same as those of ImageHash."""

import imagehash
import numpy as np
import pytest
from helpers.pictures import picture
from PIL import Image, ImageOps

from whaleid.duplicates.hashing import Orientation, from_hex, perceptual_hashes, to_hex
from whaleid.images.fingerprint import SIDE, thumbnail


def test_hashes_equal_imagehash_on_the_same_pixels() -> None:
    images = [picture(seed, (SIDE, SIDE)) for seed in range(60)]
    images += [Image.new("L", (SIDE, SIDE), level) for level in (0, 90, 255)]
    images += [Image.linear_gradient("L").resize((SIDE, SIDE)), Image.radial_gradient("L").resize((SIDE, SIDE))]
    hashes = perceptual_hashes(np.stack([thumbnail(image) for image in images]))
    assert hashes.dtype == np.uint64
    assert to_hex(hashes) == [str(imagehash.phash(image)) for image in images]


def test_codes_of_orientations() -> None:
    assert [(orientation.name, orientation.value) for orientation in Orientation] == [
        *(("UPRIGHT", 0), ("TURNED", 1), ("MIRRORED", 2), ("FLIPPED", 3))
    ]


def test_hashes_do_not_change() -> None:
    hashes = perceptual_hashes(np.stack([thumbnail(picture(seed)) for seed in range(3)]))
    assert to_hex(hashes) == ["cb2cddcaa33b016c", "81fea668926acdb2", "cd21591b21979de6"]


@pytest.mark.parametrize("size", [(96, 64), pytest.param((1050, 600), marks=pytest.mark.long), (48, 70)])
def test_hashes_differ_from_imagehash_in_few_bits_at_other_sizes(size: tuple[int, int]) -> None:
    images = [picture(seed, size).convert("RGB") for seed in range(30)]
    hashes = perceptual_hashes(np.stack([thumbnail(image) for image in images]))
    expected = [int(str(imagehash.phash(image)), 16) for image in images]
    distances = [(one ^ other).bit_count() for one, other in zip(hashes.tolist(), expected, strict=True)]
    assert max(distances) <= 4
    assert np.mean([distance == 0 for distance in distances]) > 0.6


def test_hashes_of_no_photos_are_empty() -> None:
    assert perceptual_hashes(np.empty((0, SIDE, SIDE), np.uint16)).shape == (0,)


def test_hexadecimal_round_trip() -> None:
    numbers = from_hex(["0000000000000000", "000000000000000f", "ffffffffffffffff"])
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
def test_thumbnails_are_oriented_as_photos_are(orientation, changed) -> None:
    image = picture(5, (SIDE, SIDE))
    small = orientation.apply(thumbnail(image)[None])
    assert np.array_equal(small[0], thumbnail(changed(image)))
    assert to_hex(perceptual_hashes(small)) == [str(imagehash.phash(changed(image)))]
    assert np.array_equal(orientation.apply(small)[0], thumbnail(image))
