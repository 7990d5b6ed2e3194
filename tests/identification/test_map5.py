"""MAP@5, checked by hand: ranks, query weights, and means by kind."""

import numpy as np
import pandas as pd
import pytest

from whaleid.identification.map5 import (
    Shares,
    average,
    kinds,
    map5,
    mean_average_precision,
    query_weights,
    reciprocal_ranks,
)

SHARES = Shares(unknown=0.2, duplicate=0.1)


def test_average_precision_by_hand():
    ranked = [
        ["w_1", "w_2", "w_3", "w_4", "w_5"],  # first: 1
        ["w_2", "w_1"],  # second: 1/2
        ["w_2", "w_2", "w_1"],  # second of the distinct labels: 1/2
        ["w_2", "w_3", "w_4", "w_5", "w_1"],  # fifth: 1/5
        ["w_2", "w_3", "w_4", "w_5", "w_6", "w_1"],  # sixth: 0
        ["w_2", "w_2", "w_3", "w_4", "w_5", "w_1"],  # fifth of the distinct labels: 1/5
        ["new_whale"],  # missing: 0
        [],
    ]
    assert mean_average_precision(ranked, ["w_1"] * 8) == pytest.approx(2.4 / 8)
    assert mean_average_precision([["new_whale", "w_1"]], ["new_whale"]) == 1
    with pytest.raises(ValueError, match="longer"):
        mean_average_precision([["w_1"]], ["w_1", "w_2"])


def test_reciprocal_ranks():
    assert reciprocal_ranks(np.array([[1, 2], [5, 0]])).tolist() == [[1, 0.5], [0.2, 0]]


def test_new_whale_photos_count_as_unknown_only_if_no_whale_is_held_out():
    roles = ["known", "unknown", "new_whale", "duplicate", "new_whale_train"]
    assert kinds(pd.Series(roles)).tolist() == ["known", "unknown", "", "duplicate", ""]
    del roles[1]
    assert kinds(pd.Series(roles)).tolist() == ["known", "unknown", "duplicate", ""]
    assert kinds(pd.Series([], dtype=str)).dtype.kind == "U"


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
def test_the_weights_of_each_kind_sum_to_its_share(roles, expected):
    assert query_weights(kinds(pd.Series(roles)), SHARES) == pytest.approx(expected)


def test_the_share_of_a_kind_missing_in_a_resample_goes_to_the_others():
    kind = np.array(["known", "known", "unknown", "", "duplicate"])
    counts = np.array([[1, 1, 1, 1, 1], [2, 1, 0, 1, 1], [0, 0, 2, 1, 1], [0, 0, 0, 1, 3], [1, 0, 1, 0, 0], [0] * 5])
    assert query_weights(kind, SHARES, counts.astype(float)) == pytest.approx(
        np.array(
            [
                [0.36, 0.36, 0.18, 0, 0.1],
                [0.6, 0.3, 0, 0, 0.1],
                [0, 0, 0.9, 0, 0.1],
                [0, 0, 0, 0, 1],
                [0.8, 0, 0.2, 0, 0],
                [0] * 5,
            ]
        )
    )


def test_averages_by_hand():
    values, weights = np.array([1.0, 0.5, 0.25]), np.array([1.0, 2.0, 1.0])
    assert average(values, weights) == 2.25 / 4
    assert average(values > 0.3, weights) == 3 / 4
    assert average(np.column_stack([values, 2 * values]), weights).tolist() == [2.25 / 4, 4.5 / 4]
    rows = np.stack([weights, 0 * weights])
    np.testing.assert_equal(average(values, rows), [2.25 / 4, np.nan])
    np.testing.assert_equal(average(values[:, None], rows), [[2.25 / 4], [np.nan]])


def test_map5_by_hand():
    kind = np.array(["known", "known", "unknown", "duplicate", ""])
    ranks = np.array([[1, 2], [2, 0], [0, 1], [1, 5], [1, 1]])  # at two thresholds
    result = map5(ranks, kind, SHARES)
    expected = {
        "map5": [0.9 * 0.8 * 0.75 + 0.1, 0.9 * (0.8 * 0.25 + 0.2) + 0.1 * 0.2],
        "map5_known": [0.75, 0.25],
        "map5_unknown": [0, 1],
        "map5_duplicates": [1, 0.2],
        "map5_no_duplicates": [0.8 * 0.75, 0.8 * 0.25 + 0.2],
    }
    assert {name: mean.tolist() for name, mean in result.items()} == {
        name: pytest.approx(mean) for name, mean in expected.items()
    }
    assert [*result] == [*expected]
    # in the resample, the first query counts twice and the second is missing
    counts = np.array([[1.0] * 5, [2, 0, 1, 0, 1]])
    result = map5(ranks[:, 0], kind, SHARES, counts)
    assert result["map5"] == pytest.approx([0.9 * 0.8 * 0.75 + 0.1, 0.8])
    assert result["map5_known"] == pytest.approx([0.75, 1])
    np.testing.assert_equal(result["map5_duplicates"], [1, np.nan])


def test_there_is_no_figure_for_a_kind_without_queries():
    ranks = np.array([1, 2])
    assert [*map5(ranks, np.array(["known", ""]), SHARES)] == ["map5", "map5_known", "map5_no_duplicates"]
    assert [*map5(ranks, np.array(["duplicate", ""]), SHARES)] == ["map5", "map5_duplicates"]
    assert [*map5(ranks, np.array(["unknown", ""]), SHARES)] == ["map5", "map5_unknown", "map5_no_duplicates"]
    assert map5(ranks, np.array(["", ""]), SHARES) == {}
