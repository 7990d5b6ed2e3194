"""Photos whose hashes are near: all of them, whatever the radius, and how near they are."""

import numpy as np
import pytest
from pictures import picture
from PIL import Image, ImageOps

from whaleid.duplicates.hashing import Orientation, perceptual_hashes, thumbnail
from whaleid.duplicates.matching import Compared, candidates, compare, pairs_between, pairs_within

UPRIGHT = [Orientation.UPRIGHT]


def numbers(count: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    found = [int(n) for n in rng.integers(0, 2**63, count)]
    # near ones, equal ones, and ones that differ at both ends
    found += [n ^ (1 << int(k)) for n, k in zip(found[:40], rng.integers(0, 64, 40), strict=True)]
    found += [n ^ 0b1011 ^ (1 << 63) for n in found[20:50]]
    return found + found[5:15] + found[5:10]


@pytest.mark.parametrize("max_distance", [0, 1, 2, 3, 4, 5, 6, 8, 11, 16])
def test_pairs_are_those_of_a_slow_loop(max_distance: int) -> None:
    values = numbers(200)
    slow = [
        (i, j)
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if (values[i] ^ values[j]).bit_count() <= max_distance
    ]
    found = pairs_within(np.array(values, dtype=np.uint64), max_distance)
    assert slow
    assert list(map(tuple, found.tolist())) == slow


@pytest.mark.parametrize("max_distance", [0, 4, 9])
def test_pairs_between_two_sets_are_those_of_a_slow_loop(max_distance: int) -> None:
    left, right = numbers(60), numbers(60)[::2] + numbers(50, seed=1)
    slow = [(i, j) for i, n in enumerate(left) for j, m in enumerate(right) if (n ^ m).bit_count() <= max_distance]
    found = pairs_between(np.array(left, dtype=np.uint64), np.array(right, dtype=np.uint64), max_distance)
    assert list(map(tuple, found.tolist())) == slow


@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 0), (0, 3), (1, 1)])
def test_few_hashes_have_few_pairs(left: int, right: int) -> None:
    hashes = np.arange(3, dtype=np.uint64)
    assert len(pairs_between(hashes[:left], hashes[:right], 8)) == left * right


@pytest.mark.slow
def test_many_hashes_are_cut_into_other_bands_and_none_is_missed() -> None:
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**64, 60_000, dtype=np.uint64)
    flipped = np.bitwise_or.reduce(np.uint64(1) << rng.integers(0, 64, (8, 500)).astype(np.uint64), axis=0)
    hashes[-500:] = hashes[:500] ^ flipped
    found = pairs_within(hashes, 8)
    apart = [np.bitwise_count(hashes[row] ^ hashes[row + 1 :]) for row in range(500)]
    slow = [(row, row + 1 + int(at)) for row, each in enumerate(apart) for at in np.flatnonzero(each <= 8)]
    assert len(slow) >= 500
    assert [pair for pair in map(tuple, found.tolist()) if pair[0] < 500] == slow


def thumbnails(*images: Image.Image) -> np.ndarray:
    return np.stack([thumbnail(image) for image in images])


def test_candidates_are_near_in_an_orientation_that_is_asked_for() -> None:
    image = picture(1)
    small = thumbnails(image, image.rotate(180), picture(2), ImageOps.mirror(image), image.resize((60, 40)))
    found, plain = candidates(small, 8, UPRIGHT)
    assert found.pairs.tolist() == [[0, 4]]
    assert not plain.any()
    found, _ = candidates(small, 8, [Orientation.UPRIGHT, Orientation.TURNED])
    assert found.pairs.tolist() == [[0, 1], [0, 4], [1, 4]]
    assert found.orientation.tolist() == [Orientation.TURNED, Orientation.UPRIGHT, Orientation.TURNED]
    found, _ = candidates(small, 8, list(Orientation))
    assert found.pairs.tolist() == [[0, 1], [0, 3], [0, 4], [1, 3], [1, 4], [3, 4]]
    assert found.orientation.tolist() == [1, 2, 0, 3, 1, 2]
    assert found.error.max() < 0.01
    assert found.distance.max() <= 8


def test_what_shows_nothing_is_no_candidate() -> None:
    haze = [Image.new("L", (60, 40), level) for level in (0, 80, 80, 255)]
    found, plain = candidates(thumbnails(picture(1), *haze, picture(1)), 16, UPRIGHT)
    assert found.pairs.tolist() == [[0, 5]]
    assert plain.tolist() == [False, True, True, True, True, False]


def test_pairs_are_compared_in_the_best_orientation() -> None:
    image = picture(3, (32, 32))
    small = thumbnails(image, image.rotate(180), picture(4))
    pairs = np.array([(0, 1), (2, 0)])
    found = compare(small, pairs, [Orientation.UPRIGHT, Orientation.TURNED])
    assert found.orientation[0] == Orientation.TURNED
    assert (found.distance[0], found.error[0] < 1e-6) == (0, True)
    upright = compare(small, pairs, UPRIGHT)
    hashes = perceptual_hashes(small)
    assert upright.distance.tolist() == [int(hashes[i] ^ hashes[j]).bit_count() for i, j in pairs]
    assert upright.error[0] > 0.5


def test_some_of_the_pairs_can_be_taken() -> None:
    found = Compared(
        np.array([(0, 1), (2, 3)]), np.zeros(2, np.uint8), np.array([3, 4], np.uint8), np.array([0.1, 0.2])
    )
    assert found[found.error > 0.15].pairs.tolist() == [[2, 3]]
    assert found[:1].distance.tolist() == [3]
