"""Validation: its queries, their gallery, and the labels of their duplicates."""

import pandas as pd
import pytest

from whaleid.core.errors import WhaleidError
from whaleid.identification.validation import (
    duplicate_labels,
    duplicate_share,
    gallery,
    queries,
)

SPLIT = pd.DataFrame(
    [
        ("a1.jpg", "w_a", "train", "catalogue"),
        ("a2.jpg", "w_a", "validation", "known"),
        ("a3.jpg", "w_a", "validation", "duplicate"),
        ("n1.jpg", "new_whale", "train", "catalogue"),
        ("n2.jpg", "new_whale", "validation", "new_whale"),
        ("n3.jpg", "new_whale", "validation", "duplicate"),
        ("u1.jpg", "w_u", "validation", "unknown"),
    ],
    columns=["Image", "Id", "part", "role"],
)


def test_queries_of_a_variant_with_the_class_new_whale():
    result = queries(SPLIT.sample(frac=1, random_state=0), ["new_whale", "w_a"])
    assert result.to_numpy().tolist() == [
        ["a2.jpg", "w_a", "w_a", "known"],
        ["a3.jpg", "w_a", "w_a", "duplicate"],
        ["n2.jpg", "new_whale", "new_whale", "new_whale"],
        ["n3.jpg", "new_whale", "new_whale", "duplicate"],
        ["u1.jpg", "w_u", "new_whale", "unknown"],
    ]
    assert result.index.tolist() == [0, 1, 2, 3, 4]


def test_new_whale_photos_in_training_are_queries_of_a_variant_without_that_class():
    result = queries(SPLIT, ["w_a"])
    assert [*result] == ["Image", "whale", "truth", "role"]
    assert result.to_numpy().tolist() == [
        ["a2.jpg", "w_a", "w_a", "known"],
        ["a3.jpg", "w_a", "w_a", "duplicate"],
        ["n1.jpg", "new_whale", "new_whale", "new_whale_train"],
        ["n2.jpg", "new_whale", "new_whale", "new_whale"],
        ["n3.jpg", "new_whale", "new_whale", "duplicate"],
        ["u1.jpg", "w_u", "new_whale", "unknown"],
    ]


@pytest.mark.parametrize("classes", [["new_whale", "w_a"], ["w_a"]])
def test_validation_needs_queries_that_count(classes):
    with pytest.raises(WhaleidError, match=r"Increase split\.known"):
        queries(SPLIT[SPLIT["role"].isin(["catalogue", "duplicate"])], classes)


def test_the_labels_of_duplicates_leave_out_the_query_itself():
    groups = pd.DataFrame(
        [
            (0, "a3.jpg", "train", "w_a"),
            (0, "z.jpg", "train", "w_z"),
            (0, "a1.jpg", "train", "w_a"),
            (0, "t1.jpg", "test", ""),
            (1, "n3.jpg", "train", "new_whale"),
            (1, "n1.jpg", "train", "new_whale"),
            (2, "a2.jpg", "train", "w_a"),
            (2, "a4.jpg", "train", "w_a"),
        ],
        columns=["group", "Image", "part", "Id"],
    )
    result = queries(SPLIT, ["new_whale", "w_a"])
    assert duplicate_labels(result, groups) == [
        [],  # a2.jpg has another role
        ["w_a", "w_z"],  # the labels of a1.jpg and z.jpg
        [],
        ["new_whale"],
        [],
    ]


def test_the_gallery_has_one_photo_of_named_whales_per_duplicate_group():
    assert gallery(SPLIT, held_out=False).to_numpy().tolist() == [["a1.jpg", "w_a"]]
    assert gallery(SPLIT, held_out=True).to_numpy().tolist() == [
        ["a1.jpg", "w_a"],
        ["a2.jpg", "w_a"],
        ["u1.jpg", "w_u"],
    ]


def test_a_query_with_several_duplicates_is_one_leak():
    leaks = pd.DataFrame({"query": ["t1.jpg", "t1.jpg", "t2.jpg"]})
    catalog = pd.DataFrame({"part": ["train"] * 3 + ["test"] * 8})
    assert duplicate_share(leaks, catalog) == 0.25
    assert duplicate_share(leaks[:1], catalog[:4]) == 1
    assert duplicate_share(leaks[:0], catalog[:3]) == 0  # no queries
