"""Ranking of whales and `new_whale`, against a sort and worked examples."""

import numpy as np
import pytest

from whaleid.identification.ranking import (
    LABELS,
    PROBABILITIES,
    at_threshold,
    from_table,
    rank,
    rank_by_duplicates,
    to_table,
    top_k,
    true_ranks,
)


def random_values(queries, whales, seed=0):
    """Return random probabilities with many ties, and labels."""
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 12, (queries, whales)) / 20
    labels = np.array(sorted(f"w_{number}" for number in range(whales)))
    return values.astype(np.float32), labels


def slow_rank(row, labels, threshold):
    pairs = sorted(zip(-row.astype(float), labels, strict=True))
    above = [str(label) for value, label in pairs if -value > threshold]
    below = [str(label) for value, label in pairs if -value <= threshold]
    return [*above, "new_whale", *below][:5]


def test_top_k_orders_ties_by_label():
    values = np.array([[0.25, 0.25, 0.5]], dtype=np.float32)
    labels, best = top_k(values, np.array(["w_1", "w_2", "w_3"]))
    assert labels.tolist() == [["w_3", "w_1", "w_2"]]
    assert best.tolist() == [[0.5, 0.25, 0.25]]
    assert values.tolist() == [[0.25, 0.25, 0.5]]  # the input is unchanged


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("whales", [2, 4, 5, 30])
def test_rank_agrees_with_a_sort(whales, threshold):
    values, labels = random_values(40, whales)
    expected = [slow_rank(row, labels, threshold) for row in values]
    assert rank(*top_k(values, labels), threshold)[0].tolist() == expected


def test_rank_places_new_whale_at_its_threshold():
    labels, values = np.array([["w_1", "w_2", "w_3"]]), np.array([[0.6, 0.3, 0.1]])
    for threshold, ranked, probabilities in (
        (0.0, ["w_1", "w_2", "w_3", "new_whale"], [0.6, 0.3, 0.1, 0.0]),
        (0.2, ["w_1", "w_2", "new_whale", "w_3"], [0.6, 0.3, 0.2, 0.1]),
        (0.3, ["w_1", "new_whale", "w_2", "w_3"], [0.6, 0.3, 0.3, 0.1]),  # w_2 is at the threshold, not above
        (1.0, ["new_whale", "w_1", "w_2", "w_3"], [1.0, 0.6, 0.3, 0.1]),
    ):
        result = rank(labels, values, threshold)
        assert [array.tolist() for array in result] == [[ranked], [probabilities]]


@pytest.mark.parametrize("whales", [2, 5])
def test_true_ranks_agree_with_the_ranking(whales):
    values, labels = random_values(60, whales)
    labels, values = top_k(values, labels)
    truth = np.random.default_rng(1).choice(["new_whale", "w_0", "w_1", "w_other"], 60)
    thresholds = np.array([[0.0, 0.2, 0.25, 1.0]])
    result = true_ranks(labels, values, truth, thresholds)
    assert result.dtype == np.int64
    for column, threshold in enumerate(thresholds[0]):
        ranked = [list(row) for row in rank(labels, values, threshold)[0]]
        expected = [row.index(true) + 1 if true in row else 0 for row, true in zip(ranked, truth, strict=True)]
        assert result[:, column].tolist() == expected
    per_query = np.random.default_rng(2).choice(thresholds[0], (60, 1))
    columns = np.searchsorted(thresholds[0], per_query[:, 0])
    assert true_ranks(labels, values, truth, per_query)[:, 0].tolist() == result[np.arange(60), columns].tolist()


def test_a_table_has_five_labels_and_their_values():
    table = to_table(np.array([["w_1", "w_2"], ["w_2", "w_1"]]), np.array([[0.6, 0.2], [0.5, 0.3]]))
    assert table.to_numpy().tolist() == [
        ["w_1", "w_2", "", "", "", 0.6, 0.2, 0, 0, 0],
        ["w_2", "w_1", "", "", "", 0.5, 0.3, 0, 0, 0],
    ]
    assert [*table] == [f"{column}{number}" for column in ("label", "probability") for number in range(1, 6)]
    labels, values = from_table(table[1:])
    assert (labels.tolist(), values.tolist()) == ([["w_2", "w_1", "", "", ""]], [[0.5, 0.3, 0, 0, 0]])


def test_answers_are_ranked_at_the_threshold_of_their_fold_or_at_one_for_all():
    answers = to_table(np.array([["w_1", "w_2"]] * 3), np.array([[0.6, 0.2]] * 3))
    answers = answers.assign(truth=["w_2", "new_whale", "w_3"])
    folds = at_threshold(answers.assign(threshold=[0.4, 0.1, 0.1]))
    assert folds[["threshold", "rank"]].to_numpy().tolist() == [[0.4, 3], [0.1, 3], [0.1, 0]]
    single = at_threshold(answers.assign(threshold=[0.4, 0.1, 0.1]), 0.6)  # w_1 is at the threshold, not above
    assert single[["threshold", "rank"]].to_numpy().tolist() == [[0.6, 3], [0.6, 1], [0.6, 0]]
    none = at_threshold(answers)
    assert none["threshold"].isna().all()
    assert none["threshold"].dtype == np.float64
    assert none["rank"].tolist() == [2, 3, 0]
    assert at_threshold(answers, 0.0)["rank"].tolist() == [2, 3, 0]


def test_short_rankings_are_completed_with_other_labels():
    labels, values = np.array([["w_9", "w_2"], ["w_1", "w_7"]]), np.array([[0.6, 0.2], [0.3, 0.1]])
    full = to_table(labels, values, ["w_1", "w_7", "w_8", "w_5", "w_6"])
    assert full[LABELS].to_numpy().tolist() == [
        ["w_9", "w_2", "w_1", "w_7", "w_8"],
        ["w_1", "w_7", "w_8", "w_5", "w_6"],
    ]
    assert full[PROBABILITIES].to_numpy().tolist() == [[0.6, 0.2, 0, 0, 0], [0.3, 0.1, 0, 0, 0]]
    assert to_table(labels, values, ["w_2"])[LABELS].to_numpy().tolist()[1] == ["w_1", "w_7", "w_2", "", ""]


def test_labels_of_duplicates_have_probability_1_unless_after_new_whale():
    duplicates = [["w_2", "w_1", "w_2"], ["w_3", "new_whale", "w_2"], [], ["w_9", "w_8", "w_7", "w_6", "w_5", "w_4"]]
    table = rank_by_duplicates(duplicates, ["w_1", "w_2", "w_3"])
    assert table[LABELS].to_numpy().tolist() == [
        ["w_2", "w_1", "w_3", "", ""],
        ["w_3", "w_2", "w_1", "", ""],
        ["w_1", "w_2", "w_3", "", ""],
        ["w_9", "w_8", "w_7", "w_6", "w_5"],
    ]
    assert table[PROBABILITIES].to_numpy().tolist() == [[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0] * 5, [1] * 5]
    assert [*rank_by_duplicates([], [])] == [*LABELS, *PROBABILITIES]
    assert rank_by_duplicates([], [])[PROBABILITIES].to_numpy().dtype == np.float64
