"""Pairs of photos: the search for near hashes, the comparison of pixels, and duplicates of queries."""

import numpy as np
import pandas as pd
import pytest
from helpers.pictures import picture
from PIL import Image, ImageOps

from whaleid.config import Dedup
from whaleid.duplicates.hashing import Orientation, perceptual_hashes
from whaleid.duplicates.pairs import (
    Descriptors,
    compare_pairs,
    describe,
    duplicates_between,
    find_candidates,
    near_hashes,
    orientations,
    pixels_agree,
)
from whaleid.duplicates.pixels import detail
from whaleid.images.fingerprint import thumbnail

UPRIGHT, TURNED, MIRRORED, FLIPPED = Orientation
RULE = Dedup(max_distance=8, max_error=0.1, turned=True, mirrored=False)


def random_hashes(count: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    hashes = [int(n) for n in rng.integers(0, 2**63, count)]
    # add hashes that differ in one bit, hashes that differ in bits at both ends, and equal hashes
    hashes += [n ^ (1 << int(k)) for n, k in zip(hashes[:40], rng.integers(0, 64, 40), strict=True)]
    hashes += [n ^ 0b1011 ^ (1 << 63) for n in hashes[20:50]]
    return hashes + hashes[5:15] + hashes[5:10]


@pytest.mark.parametrize("max_distance", [0, 1, 4, 8, 16])
def test_near_hashes_equal_a_brute_force_search(max_distance: int) -> None:
    left, right = random_hashes(60), random_hashes(60)[::2] + random_hashes(50, seed=1)
    expected = [(i, j) for i, n in enumerate(left) for j, m in enumerate(right) if (n ^ m).bit_count() <= max_distance]
    pairs = near_hashes(np.array(left, dtype=np.uint64), np.array(right, dtype=np.uint64), max_distance)
    assert list(map(tuple, pairs.tolist())) == expected


@pytest.mark.long
@pytest.mark.parametrize("max_distance", range(17))
def test_near_hashes_equal_a_brute_force_search_at_all_distances(max_distance: int) -> None:
    test_near_hashes_equal_a_brute_force_search(max_distance)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 0), (0, 3), (1, 1)])
def test_near_hashes_of_zero_or_one_hash(left: int, right: int) -> None:
    hashes = np.arange(3, dtype=np.uint64)
    pairs = near_hashes(hashes[:left], hashes[:right], 8)
    assert pairs.tolist() == [[0, 0]] * (left * right)
    assert pairs.shape == (left * right, 2)


@pytest.mark.long
def test_near_hashes_of_many_hashes_are_complete() -> None:
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**64, 60_000, dtype=np.uint64)
    flipped = np.bitwise_or.reduce(np.uint64(1) << rng.integers(0, 64, (8, 500)).astype(np.uint64), axis=0)
    hashes[-500:] = hashes[:500] ^ flipped
    pairs = near_hashes(hashes[:500], hashes, 8)
    distances = [np.bitwise_count(hashes[row] ^ hashes[row + 1 :]) for row in range(500)]
    expected = [(row, row + 1 + int(i)) for row, others in enumerate(distances) for i in np.flatnonzero(others <= 8)]
    assert len(expected) >= 500
    assert [(i, j) for i, j in pairs.tolist() if i < j] == expected


def describe_images(
    *images: Image.Image, allowed: tuple[Orientation, ...] = (UPRIGHT,), files: str = "a"
) -> Descriptors:
    """Compute descriptors; the prefix `files` makes the digests of two calls different."""
    sizes = [(f"{files}{number}", *image.size) for number, image in enumerate(images)]
    table = pd.DataFrame(sizes, columns=["sha256", "width", "height"])
    return describe(table, np.stack([thumbnail(image) for image in images]), list(allowed))


def rows(pairs: pd.DataFrame) -> list[list[int]]:
    return pairs[["left", "right"]].to_numpy().tolist()


@pytest.mark.parametrize(
    ("turned", "mirrored", "expected"),
    [
        (False, False, [UPRIGHT]),
        (True, False, [UPRIGHT, TURNED]),
        (False, True, [UPRIGHT, MIRRORED]),
        (True, True, [UPRIGHT, TURNED, MIRRORED, FLIPPED]),
    ],
)
def test_the_rule_sets_the_orientations(turned: bool, mirrored: bool, expected: list[Orientation]) -> None:
    assert orientations(RULE.model_copy(update={"turned": turned, "mirrored": mirrored})) == expected


def test_candidates_have_near_hashes_in_an_allowed_orientation() -> None:
    image = picture(1)
    images = image, image.rotate(180), picture(2), ImageOps.mirror(image), image.resize((60, 40))
    upright = describe_images(*images)
    assert rows(find_candidates(upright, upright, 8)) == [[0, 4]]
    assert not upright.plain.any()
    turned = describe_images(*images, allowed=(UPRIGHT, TURNED))
    pairs = find_candidates(turned, turned, 8)
    assert rows(pairs) == [[0, 1], [0, 4], [1, 4]]
    assert pairs["orientation"].tolist() == [TURNED, UPRIGHT, TURNED]
    mirrored = describe_images(*images, allowed=tuple(Orientation))
    pairs = find_candidates(mirrored, mirrored, 8)
    assert rows(pairs) == [[0, 1], [0, 3], [0, 4], [1, 3], [1, 4], [3, 4]]
    assert pairs["orientation"].tolist() == [TURNED, MIRRORED, UPRIGHT, FLIPPED, TURNED, MIRRORED]
    assert pairs["error"].max() < 0.01
    assert pairs["distance"].max() <= 8


def test_candidates_are_within_the_maximum_distance() -> None:
    left, right = describe_images(picture(1)), describe_images(picture(1).crop((6, 3, 96, 64)), files="b")
    (distance,) = compare_pairs(left, right, np.array([(0, 0)]))["distance"]
    assert distance > 0
    assert rows(find_candidates(left, right, distance)) == [[0, 0]]
    assert rows(find_candidates(left, right, distance - 1)) == []


def test_hashes_in_the_table_are_used() -> None:
    table = pd.DataFrame({"sha256": ["1"], "width": 96, "height": 64, "phash": "000000000000000f"})
    photos = describe(table, thumbnail(picture(1))[None], [UPRIGHT, TURNED])
    assert photos.hashes[UPRIGHT].tolist() == [15]
    assert photos.hashes[TURNED].tolist() != [15]


@pytest.mark.parametrize(("level", "plain"), [(1.99, True), (2.01, False)])
def test_photos_with_little_detail_are_plain_and_not_candidates(level: float, plain: bool) -> None:
    small = thumbnail(picture(1))[None]
    faint = np.rint(30_000 + (small - 30_000.0) * (level / detail(small))).astype(np.uint16)
    table = pd.DataFrame({"sha256": ["1", "2"], "width": 96, "height": 64})
    photos = describe(table, np.concatenate([small, faint]), [UPRIGHT])
    assert photos.plain.tolist() == [False, plain]
    assert rows(find_candidates(photos, photos, 16)) == ([] if plain else [[0, 1]])


def test_pairs_are_compared_in_the_best_orientation() -> None:
    image = picture(3, (32, 32))
    images = image, image.rotate(180), picture(4)
    pairs = np.array([(0, 1), (2, 0)])
    turned = describe_images(*images, allowed=(UPRIGHT, TURNED))
    assert compare_pairs(turned, turned, pairs[::-1]).index.tolist() == [0, 1]
    best = compare_pairs(turned, turned, pairs).iloc[0]
    assert (best["orientation"], best["distance"], best["error"] < 1e-6) == (TURNED, 0, True)
    upright = describe_images(*images)
    compared = compare_pairs(upright, upright, pairs)
    hashes = perceptual_hashes(upright.thumbnails)
    assert compared["distance"].tolist() == [int(hashes[i] ^ hashes[j]).bit_count() for i, j in pairs]
    assert compared["error"][0] > 0.5


def test_identical_files_have_no_error_even_if_they_are_plain() -> None:
    plain = describe_images(Image.new("L", (9, 9), 70), Image.new("L", (9, 9), 70))
    assert compare_pairs(plain, plain, np.array([(0, 1)]))["error"].tolist() == [1]
    same = Descriptors(np.array(["a", "a"]), plain.aspect, plain.thumbnails, plain.plain, plain.hashes)
    assert compare_pairs(same, same, np.array([(0, 1)])).to_numpy().tolist() == [[0, 1, UPRIGHT, 0, 0]]
    assert rows(duplicates_between(same, same, RULE)) == [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_the_error_limit_is_halved_if_aspects_differ() -> None:
    left = describe_images(picture(1, (100, 50)))
    right = describe_images(*(picture(1, size) for size in ((218, 100), (222, 100), (46, 25), (45, 25))))
    for error, expected in ((0.05, [True] * 4), (0.051, [True, False, True, False]), (0.1001, [False] * 4)):
        pairs = pd.DataFrame({"left": 0, "right": range(4), "error": error})
        assert pixels_agree(pairs, left, right, 0.1).tolist() == expected
    same = pd.DataFrame({"left": [0], "right": [0], "error": [0.1]})
    assert pixels_agree(same, left, right, 0.1).tolist() == [True]
    # a ratio of exactly 1.1 is within the limit
    landscape, square = (describe_images(picture(1, size)) for size in ((110, 100), (100, 100)))
    assert pixels_agree(same, landscape, square, 0.1).tolist() == [True]


def test_duplicates_of_queries_are_sorted_by_distance() -> None:
    gallery = describe_images(picture(2), picture(1).crop((2, 1, 94, 64)).resize((96, 64)), picture(1, (192, 128)))
    queries = describe_images(picture(5), picture(1).rotate(180), picture(2), allowed=(UPRIGHT, TURNED), files="b")
    pairs = duplicates_between(gallery, queries, RULE)
    assert rows(pairs) == [[2, 1], [1, 1], [0, 2]]
    assert pairs.index.tolist() == [0, 1, 2]
    assert pairs["orientation"].tolist() == [TURNED, TURNED, UPRIGHT]
    strict = RULE.model_copy(update={"max_error": pairs["error"][1] / 2})
    assert rows(duplicates_between(gallery, queries, strict)) == [[2, 1], [0, 2]]
    upright = describe_images(picture(1).rotate(180), files="b")
    assert rows(duplicates_between(gallery, upright, RULE)) == []


def test_an_identical_plain_file_is_a_duplicate_of_a_query() -> None:
    gallery = describe_images(picture(2), Image.new("L", (9, 9), 70))
    queries = describe_images(picture(2), Image.new("L", (9, 9), 70))
    pairs = duplicates_between(gallery, queries, RULE)
    assert pairs[["left", "right", "distance", "error"]].to_numpy().tolist() == [[0, 0, 0, 0], [1, 1, 0, 0]]
