"""Photos whose hashes are near: all of them, whatever the radius, and how near they are."""

import numpy as np
import pandas as pd
import pytest
from helpers.pictures import picture
from PIL import Image, ImageOps

from whaleid.config import Dedup
from whaleid.duplicates.hashing import Orientation, perceptual_hashes
from whaleid.duplicates.matching import (
    Descriptors,
    Matches,
    candidates,
    compare,
    describe,
    matches_between,
    orientations,
    pairs_between,
)
from whaleid.images.fingerprint import thumbnail

UPRIGHT = [Orientation.UPRIGHT]
RULE = Dedup(max_distance=8, max_error=0.1, turned=True, mirrored=False)


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
    hashes = np.array(values, dtype=np.uint64)
    found = [(i, j) for i, j in pairs_between(hashes, hashes, max_distance).tolist() if i < j]
    assert slow
    assert found == slow


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
    found = pairs_between(hashes[:500], hashes, 8)
    apart = [np.bitwise_count(hashes[row] ^ hashes[row + 1 :]) for row in range(500)]
    slow = [(row, row + 1 + int(at)) for row, each in enumerate(apart) for at in np.flatnonzero(each <= 8)]
    assert len(slow) >= 500
    assert [(i, j) for i, j in found.tolist() if i < j] == slow


def described(*images: Image.Image, allowed: list[Orientation] = UPRIGHT, files: str = "a") -> Descriptors:
    table = pd.DataFrame([(f"{files}{number}", *image.size) for number, image in enumerate(images)])
    table.columns = pd.Index(["sha256", "width", "height"])
    return describe(table, np.stack([thumbnail(image) for image in images]), allowed)


def test_candidates_are_near_in_an_orientation_that_is_asked_for() -> None:
    image = picture(1)
    images = image, image.rotate(180), picture(2), ImageOps.mirror(image), image.resize((60, 40))
    upright = described(*images)
    found = candidates(upright, upright, 8)
    assert found.pairs.tolist() == [[0, 4]]
    assert not upright.blank.any()
    turned = described(*images, allowed=[Orientation.UPRIGHT, Orientation.TURNED])
    found = candidates(turned, turned, 8)
    assert found.pairs.tolist() == [[0, 1], [0, 4], [1, 4]]
    assert found.orientation.tolist() == [Orientation.TURNED, Orientation.UPRIGHT, Orientation.TURNED]
    every = described(*images, allowed=list(Orientation))
    found = candidates(every, every, 8)
    assert found.pairs.tolist() == [[0, 1], [0, 3], [0, 4], [1, 3], [1, 4], [3, 4]]
    assert found.orientation.tolist() == [1, 2, 0, 3, 1, 2]
    assert found.error.max() < 0.01
    assert found.distance.max() <= 8


def test_what_shows_nothing_is_no_candidate() -> None:
    haze = [Image.new("L", (60, 40), level) for level in (0, 80, 80, 255)]
    photos = described(picture(1), *haze, picture(1))
    assert candidates(photos, photos, 16).pairs.tolist() == [[0, 5]]
    assert photos.blank.tolist() == [False, True, True, True, True, False]


def test_pairs_are_compared_in_the_best_orientation() -> None:
    image = picture(3, (32, 32))
    images = image, image.rotate(180), picture(4)
    pairs = np.array([(0, 1), (2, 0)])
    turned = described(*images, allowed=[Orientation.UPRIGHT, Orientation.TURNED])
    found = compare(turned, turned, pairs)
    assert found.orientation[0] == Orientation.TURNED
    assert (found.distance[0], found.error[0] < 1e-6) == (0, True)
    upright = described(*images)
    found = compare(upright, upright, pairs)
    hashes = perceptual_hashes(upright.thumbnails)
    assert found.distance.tolist() == [int(hashes[i] ^ hashes[j]).bit_count() for i, j in pairs]
    assert found.error[0] > 0.5


def test_the_same_file_has_no_error_whatever_it_shows() -> None:
    plain = described(Image.new("L", (9, 9), 70), Image.new("L", (9, 9), 70))
    assert compare(plain, plain, np.array([(0, 1)])).error.tolist() == [1]
    same = Descriptors(np.array(["a", "a"]), plain.aspect, plain.thumbnails, plain.blank, plain.hashes)
    assert compare(same, same, np.array([(0, 1)])).error.tolist() == [0]
    assert matches_between(same, same, RULE).pairs.tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_matches_of_queries_come_closest_first() -> None:
    gallery = described(picture(2), picture(1).crop((2, 1, 94, 64)).resize((96, 64)), picture(1, (192, 128)))
    queries = described(picture(5), picture(1).rotate(180), picture(2), allowed=orientations(RULE), files="b")
    found = matches_between(queries, gallery, RULE)
    assert found.pairs.tolist()[:2] == [[2, 1], [1, 1]]  # a row of the gallery, and one of the queries
    assert found.orientation.tolist()[:2] == [Orientation.TURNED, Orientation.TURNED]
    assert (0, 2) in map(tuple, found.pairs.tolist())
    turned = described(picture(1).rotate(180), files="b")
    assert matches_between(turned, gallery, RULE).pairs.tolist() == []


def test_some_of_the_pairs_can_be_taken() -> None:
    found = Matches(np.array([(0, 1), (2, 3)]), np.zeros(2, np.uint8), np.array([3, 4], np.uint8), np.array([0.1, 0.2]))
    assert found[found.error > 0.15].pairs.tolist() == [[2, 3]]
    assert found[:1].distance.tolist() == [3]
