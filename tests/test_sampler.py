"""Which photos a variant learns from, and in which order they are shown."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from stripes import training

from whaleid.core.errors import WhaleidError
from whaleid.training import sampler

TRIPLET = {"kind": "triplet", "scale": 16, "margin": 0.3, "centres": 1}


def labelled(**photos: int) -> pd.DataFrame:
    """Return so many photos of each label, the last first."""
    rows = [(f"{label}{number}.jpg", label) for label, count in photos.items() for number in range(count, 0, -1)]
    return pd.DataFrame(rows, columns=["Image", "Id"])


def refusal(frame: pd.DataFrame, **changes: object) -> str:
    with pytest.raises(WhaleidError) as caught:
        sampler.select(frame, "v", training(**changes))
    return str(caught.value)


def test_all_whales_and_all_their_photos() -> None:
    chosen = sampler.select(labelled(b=2, a=1, new_whale=3), "v", training())
    assert chosen.to_numpy().tolist() == [["a1.jpg", "a"], ["b1.jpg", "b"], ["b2.jpg", "b"]]


def test_new_whale_as_a_class() -> None:
    chosen = sampler.select(labelled(b=2, a=1, new_whale=3), "v", training(new_whale=True))
    assert chosen["Id"].value_counts().to_dict() == {"new_whale": 3, "b": 2, "a": 1}


def test_the_whales_with_most_photos_and_about_equally_many_of_each() -> None:
    chosen = sampler.select(labelled(a=1, b=5, c=3, d=3, e=4), "v", training(whales=3, photos=4))
    # c and d have equally many: the name decides
    assert chosen["Id"].value_counts().to_dict() == {"b": 4, "e": 4, "c": 3}
    assert chosen.loc[chosen["Id"] == "b", "Image"].tolist() == ["b1.jpg", "b2.jpg", "b3.jpg", "b4.jpg"]


@pytest.mark.parametrize(("min_photos", "whales"), [(1, "abcd"), (2, "bcd"), (3, "cd")])
def test_whales_with_too_few_photos_are_left_out(min_photos: int, whales: str) -> None:
    chosen = sampler.select(labelled(a=1, b=2, c=3, d=4), "v", training(min_photos=min_photos))
    assert sorted(chosen["Id"].unique()) == list(whales)
    assert len(chosen) == sum("abcd".index(whale) + 1 for whale in whales)


def test_too_few_photos_are_counted_before_some_are_left_out() -> None:
    chosen = sampler.select(labelled(a=2, b=3, c=4), "v", training(min_photos=3, photos=2))
    assert chosen["Image"].tolist() == ["b1.jpg", "b2.jpg", "c1.jpg", "c2.jpg"]


def test_new_whale_is_a_class_however_few_its_photos() -> None:
    chosen = sampler.select(labelled(a=2, b=3, new_whale=1), "v", training(min_photos=3, new_whale=True))
    assert chosen["Id"].tolist() == ["b", "b", "b", "new_whale"]


def test_a_toy_that_asks_for_more_whales_than_there_are() -> None:
    said = refusal(labelled(a=3, b=2, new_whale=9), whales=56)
    assert said.startswith("variants.v.train.whales asks for 56 whales, but only 2 have 1 or more photos to train on")
    said = refusal(labelled(a=3, b=2, c=1), whales=3, min_photos=2)
    assert said.startswith("variants.v.train.whales asks for 3 whales, but only 2 have ")


def test_one_class_is_nothing_to_tell_apart() -> None:
    assert refusal(labelled(a=3, new_whale=9)).startswith("variants.v has 1 classes to tell apart")
    assert refusal(labelled(a=3, b=1), min_photos=2).startswith("variants.v has 1 classes to tell apart")


def test_triplet_where_every_whale_has_a_single_photo() -> None:
    assert refusal(labelled(a=1, b=1, c=1), loss=TRIPLET, per_whale=2, batch_size=4) == (
        "variants.v.train.loss: triplet compares two photos of a whale, but each of 3 whales has one to train on. Take "
        "another loss, or add photos."
    )
    # one left of each
    assert "each of 2 whales has one" in refusal(labelled(a=3, b=3), loss=TRIPLET, per_whale=2, batch_size=4, photos=1)
    # one whale with two is enough
    assert len(sampler.select(labelled(a=1, b=2, c=1), "v", training(loss=TRIPLET, per_whale=2, batch_size=4))) == 4


def test_a_batch_of_more_whales_than_there_are() -> None:
    assert refusal(labelled(a=3, b=3, c=3), per_whale=2, batch_size=8) == (
        "variants.v: a batch of 8 with 2 photos together needs 4 whales, but there are 3 to train on. Set "
        "variants.v.train.batch_size to 6 at most, or raise per_whale."
    )
    photos = labelled(a=3, b=3, c=3)
    for per_whale, batch_size in ((2, 6), (4, 8), (1, 8)):
        assert len(sampler.select(photos, "v", training(per_whale=per_whale, batch_size=batch_size))) == 9


@pytest.mark.parametrize("oversample", [1, 2, 5])
@pytest.mark.parametrize("per_whale", [1, 2, 3, 4])
def test_an_epoch_shows_every_photo_and_each_class_often_enough(oversample: int, per_whale: int) -> None:
    classes = np.array([3, 0, 2, 0, 0, 3, 0, 5, 0, 0, 3, 0, 2])  # 7 of 0, 2 of 2, 3 of 3, 1 of 5
    shown = sampler.views(classes, oversample, per_whale, np.random.default_rng(0))
    assert shown.shape[1] == per_whale
    assert set(shown.flat) == set(range(len(classes)))
    assert all(len(set(classes[row])) == 1 for row in shown)
    times = Counter(shown.flat)
    for label in (0, 2, 3, 5):
        photos = np.flatnonzero(classes == label)
        # as many as are asked for, filled up to whole rows
        wanted = -(-max(len(photos), oversample) // per_whale) * per_whale
        assert sum(times[photo] for photo in photos) == wanted
        assert max(times[photo] for photo in photos) - min(times[photo] for photo in photos) <= 1
        for row in shown[classes[shown[:, 0]] == label]:  # no photo beside itself, where there are others
            assert len(set(row)) == min(per_whale, len(photos))


def test_views_by_hand() -> None:
    shown = sampler.views(np.array([1, 0, 1, 1]), 2, 2, np.random.default_rng(0))
    assert shown[0].tolist() == [1, 1]  # the only photo of class 0
    assert sorted(shown[1:].flat) in ([0, 0, 2, 3], [0, 2, 2, 3], [0, 2, 3, 3])
    plain = sampler.views(np.array([1, 0, 1, 1]), 1, 1, np.random.default_rng(0))
    assert plain.shape == (4, 1)
    assert plain[0, 0] == 1


def test_epochs_differ_in_what_is_together_and_what_is_repeated() -> None:
    classes = np.repeat(np.arange(3), 7)
    generator = np.random.default_rng(0)
    first, second = (sampler.views(classes, 8, 4, generator) for _ in range(2))
    assert first.tolist() != second.tolist()
    repeated = [
        {photo for photo, times in Counter(sampler.views(classes, 8, 4, generator).flat).items() if times > 1}
        for _ in range(5)
    ]
    assert all(len(photos) == 3 for photos in repeated)
    assert len(set().union(*repeated)) > 3


@pytest.mark.parametrize(("rows", "size", "lengths"), [(10, 4, [4, 3, 3]), (9, 4, [3, 3, 3]), (3, 2, [3]), (2, 8, [2])])
@pytest.mark.parametrize("per_whale", [1, 3])
def test_batches_hold_every_row_once_and_never_one_alone(
    rows: int, size: int, lengths: list[int], per_whale: int
) -> None:
    shown = np.arange(rows * per_whale).reshape(rows, per_whale)
    found = sampler.batches(shown, size, np.random.default_rng(0))
    assert [batch.shape for batch in found] == [(length, per_whale) for length in lengths]
    assert sampler.steps(rows, size) == len(lengths)
    assert sorted(np.concatenate(found).tolist()) == shown.tolist()  # rows stay whole
    if rows > 3:
        assert np.concatenate(found).tolist() != shown.tolist()


def test_the_generator_decides_all() -> None:
    classes = np.repeat(np.arange(5), 3)

    def epoch(seed: int) -> list[list[list[int]]]:
        generator = np.random.default_rng(seed)
        return [batch.tolist() for batch in sampler.batches(sampler.views(classes, 4, 2, generator), 4, generator)]

    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)


@pytest.mark.parametrize(("photos", "size"), [(2, 5), (7, 8), (1, 40)])
def test_rows_are_dealt_so_that_no_whale_meets_itself(photos: int, size: int) -> None:
    classes = np.repeat(np.arange(40), photos)
    rows = np.random.default_rng(1).permutation(len(classes)).reshape(-1, 1)
    found = sampler.deal(rows, classes, size, np.random.default_rng(0))
    assert len(found) == sampler.steps(len(rows), size)
    assert {len(batch) for batch in found} <= {len(rows) // len(found), -(-len(rows) // len(found))}
    assert sorted(np.concatenate(found)[:, 0].tolist()) == list(range(len(classes)))
    for batch in found:
        assert len(set(classes[batch[:, 0]])) == len(batch)


def test_deals_differ_and_a_whale_with_too_many_rows_meets_itself() -> None:
    classes = np.array([0] * 6 + [1, 1])
    rows, draws = np.arange(8).reshape(-1, 1), np.random.default_rng(0)
    first, second = (sampler.deal(rows, classes, 4, draws) for _ in range(2))
    assert [len(batch) for batch in first] == [4, 4]
    assert sorted(np.bincount(classes[batch[:, 0]]).tolist() for batch in first) == [[3, 1], [3, 1]]
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in second]
