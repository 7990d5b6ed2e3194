"""The batches of an epoch."""

from collections import Counter

import numpy as np
import pytest
from helpers.stripes import training

from whaleid.model.batches import batch_count, shuffled_batches
from whaleid.training import sampler


@pytest.mark.parametrize("oversample", [1, 2, 5])
@pytest.mark.parametrize("per_whale", [1, 2, 3, 4])
def test_an_epoch_contains_every_photo_and_oversamples_small_classes(oversample: int, per_whale: int) -> None:
    classes = np.array([3, 0, 2, 0, 0, 3, 0, 5, 0, 0, 3, 0, 2])  # 7 of 0, 2 of 2, 3 of 3, 1 of 5
    sampled = sampler.oversample(classes, oversample, per_whale, np.random.default_rng(0))
    assert sampled.shape[1] == per_whale
    assert set(sampled.flat) == set(range(len(classes)))
    assert all(len(set(classes[row])) == 1 for row in sampled)
    counts = Counter(sampled.flat)
    for label in (0, 2, 3, 5):
        photos = np.flatnonzero(classes == label)
        # the requested number, rounded up to full rows
        expected = -(-max(len(photos), oversample) // per_whale) * per_whale
        assert sum(counts[photo] for photo in photos) == expected
        assert max(counts[photo] for photo in photos) - min(counts[photo] for photo in photos) <= 1
        for row in sampled[classes[sampled[:, 0]] == label]:  # a row repeats a photo only if the class has too few
            assert len(set(row)) == min(per_whale, len(photos))


def test_oversample_by_hand() -> None:
    sampled = sampler.oversample(np.array([1, 0, 1, 1]), 2, 2, np.random.default_rng(0))
    assert sampled[0].tolist() == [1, 1]  # the only photo of class 0
    assert sorted(sampled[1:].flat) in ([0, 0, 2, 3], [0, 2, 2, 3], [0, 2, 3, 3])
    result = sampler.oversample(np.array([1, 0, 1, 1]), 1, 1, np.random.default_rng(0))
    assert result.shape == (4, 1)
    assert result[0, 0] == 1


def test_epochs_differ_in_their_rows_and_repeated_photos() -> None:
    classes = np.repeat(np.arange(3), 7)
    generator = np.random.default_rng(0)
    first, second = (sampler.oversample(classes, 8, 4, generator) for _ in range(2))
    assert first.tolist() != second.tolist()
    repeated = [
        {photo for photo, count in Counter(sampler.oversample(classes, 8, 4, generator).flat).items() if count > 1}
        for _ in range(5)
    ]
    assert all(len(photos) == 3 for photos in repeated)
    assert len(set().union(*repeated)) > 3


@pytest.mark.parametrize(("rows", "size", "lengths"), [(10, 4, [4, 3, 3]), (9, 4, [3, 3, 3]), (3, 2, [3]), (2, 8, [2])])
@pytest.mark.parametrize("per_whale", [1, 3])
def test_batches_contain_every_row_once_and_at_least_two_rows(
    rows: int, size: int, lengths: list[int], per_whale: int
) -> None:
    sampled = np.arange(rows * per_whale).reshape(rows, per_whale)
    result = shuffled_batches(sampled, size, np.random.default_rng(0))
    assert [batch.shape for batch in result] == [(length, per_whale) for length in lengths]
    assert batch_count(rows, size) == len(lengths)
    assert sorted(np.concatenate(result).tolist()) == sampled.tolist()  # rows are not split
    if rows > 3:
        assert np.concatenate(result).tolist() != sampled.tolist()


def test_batches_depend_only_on_the_generator() -> None:
    classes = np.repeat(np.arange(5), 3)

    def epoch(seed: int) -> list[list[list[int]]]:
        generator = np.random.default_rng(seed)
        return [
            batch.tolist() for batch in shuffled_batches(sampler.oversample(classes, 4, 2, generator), 4, generator)
        ]

    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)


@pytest.mark.parametrize(("photos", "size"), [(2, 5), (7, 8), (1, 40)])
def test_no_whale_is_in_a_batch_twice_if_that_is_possible(photos: int, size: int) -> None:
    classes = np.repeat(np.arange(40), photos)
    rows = np.random.default_rng(1).permutation(len(classes)).reshape(-1, 1)
    result = sampler.spread_classes(rows, classes[rows[:, 0]], size, np.random.default_rng(0))
    assert len(result) == batch_count(len(rows), size)
    assert {len(batch) for batch in result} <= {len(rows) // len(result), -(-len(rows) // len(result))}
    assert sorted(np.concatenate(result)[:, 0].tolist()) == list(range(len(classes)))
    for batch in result:
        assert len(set(classes[batch[:, 0]])) == len(batch)


def test_results_differ_and_a_whale_with_too_many_rows_is_in_a_batch_twice() -> None:
    classes = np.array([0] * 6 + [1, 1])
    rows, generator = np.arange(8).reshape(-1, 1), np.random.default_rng(0)
    first, second = (sampler.spread_classes(rows, classes[rows[:, 0]], 4, generator) for _ in range(2))
    assert [len(batch) for batch in first] == [4, 4]
    assert sorted(np.bincount(classes[batch[:, 0]]).tolist() for batch in first) == [[3, 1], [3, 1]]
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in second]


@pytest.mark.parametrize(("per_whale", "sizes"), [(1, [4, 3, 3]), (2, [4, 4, 4])])
def test_batches_have_the_requested_sizes_and_rows_of_one_class(per_whale: int, sizes: list[int]) -> None:
    classes = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])  # 2, 1 and 3 rows of two photos
    settings = training(per_whale=per_whale, batch_size=4)
    for seed in range(3):
        result = sampler.sample_batches(classes, settings, np.random.default_rng(seed))
        assert [batch.size for batch in result] == sizes
        assert set(np.concatenate(result).flat) == set(range(10))
        assert all(len(set(classes[row])) == 1 for batch in result for row in batch)
