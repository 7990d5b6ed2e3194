"""Scores, probabilities, ranking, threshold and measures, against worked examples and slow references."""

import numpy as np
import pandas as pd
import pytest

from whaleid.identify.calibration import best_threshold, fit_temperature, threshold_curve
from whaleid.identify.metrics import mean_average_precision, mixed_mean, reciprocal_ranks
from whaleid.identify.ranking import combine, leading, rank
from whaleid.identify.similarity import class_logits, probabilities


def drawn(queries, whales, seed=0):
    """Return probabilities with many ties, and labels in no order."""
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 12, (queries, whales)) / 20
    labels = np.array([f"w_{number}" for number in generator.permutation(whales)])
    return values.astype(np.float32), labels


def slow_rank(row, labels, threshold):
    pairs = sorted(zip(-row.astype(float), labels, strict=True))
    above = [str(label) for value, label in pairs if -value > threshold]
    below = [str(label) for value, label in pairs if -value <= threshold]
    return [*above, "new_whale", *below][:5]


def test_logits_are_scaled_cosines():
    embeddings = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    centres = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    logits = class_logits(embeddings, centres, 20.0)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, [[20, 0, -20], [12, 16, -12]], rtol=1e-6)


def test_probabilities_are_a_softmax_at_a_temperature():
    logits = np.log(np.array([[1, 4, 16]], dtype=np.float32))
    np.testing.assert_allclose(probabilities(logits, 1.0), [[1 / 21, 4 / 21, 16 / 21]], rtol=1e-6)
    np.testing.assert_allclose(probabilities(logits, 2.0), [[1 / 7, 2 / 7, 4 / 7]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(logits), [[1, 4, 16]], rtol=1e-6)  # the input is left as it was


def test_probabilities_of_huge_logits_stay_finite():
    assert probabilities(np.array([[1000, 0]], dtype=np.float32), 0.05).tolist() == [[1, 0]]


@pytest.mark.parametrize("known", [0.5, 1.0, 3.0])
def test_temperature_is_recovered(known):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (20_000, 6)).astype(np.float32)
    truth = (logits / known + generator.gumbel(size=logits.shape)).argmax(axis=1)  # a draw from their softmax
    assert fit_temperature(logits, truth) == pytest.approx(known, rel=0.05)


def test_temperature_by_hand():
    # the first class is right three times of four: the loss is least where its probability is 3/4
    logits = np.array([[8, 0]] * 4, dtype=np.float32)
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(8 / np.log(3), abs=1e-4)


def test_leading_settles_ties_by_label():
    values = np.array([[0.25, 0.5, 0.25]], dtype=np.float32)
    labels, best = leading(values, np.array(["w_2", "w_3", "w_1"]))
    assert labels.tolist() == [["w_3", "w_1", "w_2"]]
    assert best.tolist() == [[0.5, 0.25, 0.25]]
    assert values.tolist() == [[0.25, 0.5, 0.25]]  # the input is left as it was


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("whales", [2, 4, 5, 30])
def test_rank_agrees_with_a_sort(whales, threshold):
    values, labels = drawn(40, whales)
    expected = [slow_rank(row, labels, threshold) for row in values]
    assert rank(values, labels, threshold).tolist() == expected


def test_rank_places_new_whale_at_its_threshold():
    values, labels = np.array([[0.6, 0.3, 0.1]], dtype=np.float32), np.array(["w_1", "w_2", "w_3"])
    assert rank(values, labels, 0.0).tolist() == [["w_1", "w_2", "w_3", "new_whale"]]
    assert rank(values, labels, 0.2).tolist() == [["w_1", "w_2", "new_whale", "w_3"]]
    assert rank(values, labels, 1.0).tolist() == [["new_whale", "w_1", "w_2", "w_3"]]


def test_duplicates_outrank_the_ranking_and_labels_stay_distinct():
    answers = combine(
        evidence=[["w_9", "w_2", "w_9"], [], ["w_3"]],
        ranked=[["w_1", "w_2", "new_whale", "w_3", "w_4"], ["w_1", "new_whale"], ["new_whale"]],
        fill=["w_1", "w_7", "w_8", "w_5", "w_6"],
    )
    assert answers == [
        ["w_9", "w_2", "w_1", "new_whale", "w_3"],
        ["w_1", "new_whale", "w_7", "w_8", "w_5"],
        ["w_3", "new_whale", "w_1", "w_7", "w_8"],
    ]


def test_average_precision_by_hand():
    ranked = [
        ["w_1", "w_2", "w_3", "w_4", "w_5"],  # first: 1
        ["w_2", "w_1"],  # second: 1/2
        ["w_2", "w_2", "w_1"],  # second of the distinct ones: 1/2
        ["w_2", "w_3", "w_4", "w_5", "w_1"],  # fifth: 1/5
        ["w_2", "w_3", "w_4", "w_5", "w_6", "w_1"],  # sixth: 0
        ["w_2", "w_2", "w_3", "w_4", "w_5", "w_1"],  # fifth of the distinct ones: 1/5
        ["new_whale"],  # not there: 0
        [],
    ]
    expected = [1, 1 / 2, 1 / 2, 1 / 5, 0, 1 / 5, 0, 0]
    assert reciprocal_ranks(ranked, ["w_1"] * 8).tolist() == expected
    assert mean_average_precision(ranked, ["w_1"] * 8) == pytest.approx(2.4 / 8)
    assert mean_average_precision([["new_whale", "w_1"]], ["new_whale"]) == 1


def test_means_are_mixed_by_share():
    first, second, none = np.array([0.0, 1.0]), np.array([0.2]), np.empty(0)
    assert mixed_mean(first, second, 0.25) == pytest.approx(0.75 * 0.5 + 0.25 * 0.2)
    assert mixed_mean(first, none, 0.25) == 0.5
    assert mixed_mean(none, second, 0.25) == 0.2


def test_threshold_curve_agrees_with_ranking_at_each_threshold():
    values, labels = drawn(60, 8, seed=2)
    generator = np.random.default_rng(3)
    # whales that some queries show are not among the labels, as where a variant learns a part of the whales
    truth = generator.choice(["new_whale", "w_0", "w_1", "w_2", "w_3", "w_other"], 60)
    curve = threshold_curve(values, labels, truth, 0.3)
    assert curve["threshold"].tolist() == [step / 200 for step in range(201)]
    for row in curve.itertuples():
        ranks = reciprocal_ranks(rank(values, labels, row.threshold).tolist(), truth.tolist())
        known, unknown = ranks[truth != "new_whale"].mean(), ranks[truth == "new_whale"].mean()
        assert row.map5_known == pytest.approx(known)
        assert row.map5_unknown == pytest.approx(unknown)
        assert row.map5 == pytest.approx(0.7 * known + 0.3 * unknown)


def test_threshold_curve_without_a_kind_weighs_the_other_alone():
    values, labels = drawn(10, 6)
    curve = threshold_curve(values, labels, np.full(10, "w_1"), 0.3)
    assert list(curve) == ["threshold", "map5", "map5_known"]
    assert curve["map5"].tolist() == curve["map5_known"].tolist()
    curve = threshold_curve(values, labels, np.full(10, "new_whale"), 0.3)
    assert list(curve) == ["threshold", "map5", "map5_unknown"]
    assert curve["map5"].iloc[-1] == 1


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.1, 0.3, 0.2, 0.1, 0.1], 0.1),
        ([0.1, 0.3, 0.3, 0.3, 0.1], 0.2),
        ([0.3, 0.1, 0.3, 0.3, 0.3], 0.3),  # the longest run
        ([0.3, 0.3, 0.1, 0.3, 0.3], 0.0),  # of equal runs the first, of two middles the lower
        ([0.3, 0.3, 0.3, 0.3, 0.3], 0.2),
    ],
)
def test_best_threshold_is_the_middle_of_the_longest_plateau(values, best):
    curve = pd.DataFrame({"threshold": [0.0, 0.1, 0.2, 0.3, 0.4], "map5": values})
    assert best_threshold(curve) == best
