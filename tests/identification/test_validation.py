"""Which photos validation asks about, what their duplicates say, and how figures are weighed."""

import numpy as np
import pandas as pd
import pytest

from whaleid.core.errors import WhaleidError
from whaleid.identification.validation import (
    Shares,
    duplicate_labels,
    duplicate_share,
    gallery,
    kinds,
    mix,
    queries,
    query_weights,
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


def test_queries_of_a_variant_that_learns_new_whale():
    asked = queries(SPLIT.sample(frac=1, random_state=0), ["new_whale", "w_a"])
    assert asked.to_numpy().tolist() == [
        ["a2.jpg", "w_a", "w_a", "known"],
        ["a3.jpg", "w_a", "w_a", "duplicate"],
        ["n2.jpg", "new_whale", "new_whale", "new_whale"],
        ["n3.jpg", "new_whale", "new_whale", "duplicate"],
        ["u1.jpg", "w_u", "new_whale", "unknown"],
    ]


def test_variants_without_that_class_are_asked_about_all_new_whale_photos():
    asked = queries(SPLIT, ["w_a"])
    assert asked.to_numpy().tolist() == [
        ["a2.jpg", "w_a", "w_a", "known"],
        ["a3.jpg", "w_a", "w_a", "duplicate"],
        ["n1.jpg", "new_whale", "new_whale", "new_whale_train"],
        ["n2.jpg", "new_whale", "new_whale", "new_whale"],
        ["n3.jpg", "new_whale", "new_whale", "duplicate"],
        ["u1.jpg", "w_u", "new_whale", "unknown"],
    ]


@pytest.mark.parametrize("classes", [["new_whale", "w_a"], ["w_a"]])
def test_validation_without_queries_that_count_is_refused(classes):
    with pytest.raises(WhaleidError, match=r"raise split\.known"):
        queries(SPLIT[SPLIT["role"].isin(["catalogue", "duplicate"])], classes)


def test_duplicates_do_not_tell_their_own_label():
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
    asked = queries(SPLIT, ["new_whale", "w_a"])
    assert duplicate_labels(asked, groups) == [
        [],  # a2.jpg is not asked about as a duplicate
        ["w_a", "w_z"],  # of a1.jpg and z.jpg
        [],
        ["new_whale"],
        [],
    ]


def test_queries_are_compared_with_unique_photos_of_named_whales():
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


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (["known", "unknown", "new_whale", "known", "duplicate"], [0.36, 0.18, 0, 0.36, 0.1]),
        (["known", "unknown"], [0.8, 0.2]),
        (["known", "known", "duplicate"], [0.45, 0.45, 0.1]),
        (["duplicate", "new_whale"], [0.1, 0.9]),
        (["new_whale", "unknown"], [0, 1]),
        (["new_whale_train", "known", "new_whale", "new_whale_train", "duplicate"], [0, 0.72, 0.18, 0, 0.1]),
        (["known", "new_whale_train"], [1, 0]),
        (["duplicate"], [1]),
    ],
)
def test_queries_count_as_their_kind_is_expected(roles, expected):
    assert query_weights(pd.Series(roles), Shares(unknown=0.2, duplicate=0.1)) == pytest.approx(expected)


def test_kinds_are_certain_and_new_whale_photos_stand_in_where_no_whale_is_held_out():
    roles = ["known", "unknown", "new_whale", "duplicate", "new_whale_train"]
    assert kinds(pd.Series(roles)).tolist() == ["known", "unknown", "", "duplicate", ""]
    del roles[1]
    assert kinds(pd.Series(roles)).tolist() == ["known", "unknown", "duplicate", ""]


def test_queries_outside_of_a_subset_have_no_weight():
    roles = pd.Series(["known", "known", "unknown", "new_whale", "duplicate"])
    subset = np.array([True, False, True, True, True])
    assert query_weights(roles, Shares(0.2, 0.1), subset) == pytest.approx([0.72, 0, 0.18, 0, 0.1])
    assert query_weights(roles, Shares(0.2, 0.1), ~subset) == pytest.approx([0, 1, 0, 0, 0])
    assert query_weights(roles, Shares(0.2, 0.1), subset & False).tolist() == [0] * 5


def test_kinds_are_mixed_by_their_shares():
    known, unknown, duplicate = np.array([0.5, 0.5, np.nan, 0.5]), np.array([0.8, np.nan, np.nan, 0.8]), np.full(4, 0.3)
    duplicate[3] = np.nan
    expected = [0.9 * (0.8 * 0.5 + 0.2 * 0.8) + 0.1 * 0.3, 0.9 * 0.5 + 0.1 * 0.3, 0.3, 0.8 * 0.5 + 0.2 * 0.8]
    assert mix(known, unknown, duplicate, Shares(0.2, 0.1)) == pytest.approx(expected)
