"""Selection of the photos that a variant is trained on."""

import pandas as pd
import pytest
from helpers.stripes import training

from whaleid.core.errors import WhaleidError
from whaleid.training import subset

TRIPLET = {"kind": "triplet", "scale": 16, "margin": 0.3, "centres": 1}


def labelled(**photos: int) -> pd.DataFrame:
    """Return a table of photos in descending order; the keyword arguments are the number of photos per label."""
    rows = [(f"{label}{number}.jpg", label) for label, count in photos.items() for number in range(count, 0, -1)]
    return pd.DataFrame(rows, columns=["Image", "Id"])


def selection_error(table: pd.DataFrame, **changes: object) -> str:
    """Return the message of the error that selecting from `table` raises."""
    with pytest.raises(WhaleidError) as caught:
        subset.select(table, "v", training(**changes))
    return str(caught.value)


def test_all_photos_of_all_whales_are_selected_by_default() -> None:
    selected = subset.select(labelled(b=2, a=1, new_whale=3), "v", training())
    assert selected.to_numpy().tolist() == [["a1.jpg", "a"], ["b1.jpg", "b"], ["b2.jpg", "b"]]


def test_new_whale_can_be_a_class() -> None:
    selected = subset.select(labelled(b=2, a=1, new_whale=3), "v", training(new_whale=True))
    assert selected["Id"].value_counts().to_dict() == {"new_whale": 3, "b": 2, "a": 1}


def test_whales_and_photos_limit_the_selection() -> None:
    selected = subset.select(labelled(a=1, b=5, c=3, d=3, e=4), "v", training(whales=3, photos=4))
    # c and d have the same number of photos, so that the name decides
    assert selected["Id"].value_counts().to_dict() == {"b": 4, "e": 4, "c": 3}
    assert selected.loc[selected["Id"] == "b", "Image"].tolist() == ["b1.jpg", "b2.jpg", "b3.jpg", "b4.jpg"]


@pytest.mark.parametrize(("min_photos", "whales"), [(1, "abcd"), (2, "bcd"), (3, "cd")])
def test_whales_with_less_than_min_photos_are_left_out(min_photos: int, whales: str) -> None:
    selected = subset.select(labelled(a=1, b=2, c=3, d=4), "v", training(min_photos=min_photos))
    assert sorted(selected["Id"].unique()) == list(whales)
    assert len(selected) == sum("abcd".index(whale) + 1 for whale in whales)


def test_min_photos_applies_before_photos() -> None:
    selected = subset.select(labelled(a=2, b=3, c=4), "v", training(min_photos=3, photos=2))
    assert selected["Image"].tolist() == ["b1.jpg", "b2.jpg", "c1.jpg", "c2.jpg"]


def test_min_photos_does_not_apply_to_new_whale() -> None:
    selected = subset.select(labelled(a=2, b=3, new_whale=1), "v", training(min_photos=3, new_whale=True))
    assert selected["Id"].tolist() == ["b", "b", "b", "new_whale"]


def test_more_whales_than_exist_are_refused() -> None:
    message = selection_error(labelled(a=3, b=2, new_whale=9), whales=56)
    assert message.startswith("variants.v.train.whales is 56, but only 2 whales have 1 or more photos to train on")
    message = selection_error(labelled(a=3, b=2, c=1), whales=3, min_photos=2)
    assert message.startswith("variants.v.train.whales is 3, but only 2 whales have ")


def test_a_single_class_is_refused() -> None:
    assert selection_error(labelled(a=3, new_whale=9)).startswith("variants.v needs at least two classes, but has 1.")
    assert selection_error(labelled(a=3, b=1), min_photos=2).startswith(
        "variants.v needs at least two classes, but has 1."
    )


def test_triplet_is_refused_if_every_whale_has_a_single_photo() -> None:
    assert selection_error(labelled(a=1, b=1, c=1), loss=TRIPLET, per_whale=2, batch_size=4) == (
        "variants.v.train.loss: triplet compares two photos of a whale, but each of the 3 whales has one photo to "
        "train on. Use another loss, or add photos."
    )
    # photos=1 keeps one photo per whale
    assert "each of the 2 whales has one photo" in selection_error(
        labelled(a=3, b=3), loss=TRIPLET, per_whale=2, batch_size=4, photos=1
    )
    # one whale with two photos is enough
    assert len(subset.select(labelled(a=1, b=2, c=1), "v", training(loss=TRIPLET, per_whale=2, batch_size=4))) == 4


def test_a_batch_that_needs_more_whales_than_exist_is_refused() -> None:
    assert selection_error(labelled(a=3, b=3, c=3), per_whale=2, batch_size=8) == (
        "variants.v: a batch of 8 with 2 photos per whale needs 4 whales, but there are 3 to train on. Set "
        "variants.v.train.batch_size to at most 6, or increase per_whale."
    )
    photos = labelled(a=3, b=3, c=3)
    for per_whale, batch_size in ((2, 6), (4, 8), (1, 8)):
        assert len(subset.select(photos, "v", training(per_whale=per_whale, batch_size=batch_size))) == 9
