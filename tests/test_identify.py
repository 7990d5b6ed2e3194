"""Scores, probabilities, ranking, threshold and measures, against worked examples and slow references."""

import numpy as np
import pandas as pd
import pytest

from whaleid.identify.calibration import LIMIT, START, best_threshold, fit_fusion, threshold_curve
from whaleid.identify.fusion import Fusion, from_figures, probabilities
from whaleid.identify.metrics import mean_average_precision, reciprocal_ranks
from whaleid.identify.ranking import filled, leading, rank
from whaleid.identify.similarity import (
    centroid_scores,
    class_scores,
    duplicate_scores,
    gallery,
    in_class_terms,
    nearest_scores,
    score_table,
)


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


def unit(*shape, seed=0):
    """Return float32 rows of unit length."""
    drawn = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


LABELS = np.array(["w_3", "w_1", "w_2", "w_1", "w_3", "w_3", "w_1"])
WHALES = ["w_1", "w_2", "w_3"]


def test_class_score_is_the_closest_centre_in_each_view():
    queries, centres = unit(2, 5, 4), unit(2, 3, 2, 4, seed=1)
    expected = [
        [np.mean([max(q[view] @ centre for centre in centres[view, c]) for view in range(2)]) for c in range(3)]
        for q in queries.transpose(1, 0, 2)
    ]
    found = class_scores(queries, centres)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_nearest_score_is_that_of_the_photo_most_alike_over_all_views():
    queries, photos = unit(2, 5, 4), unit(2, 7, 4, seed=1)
    expected = [
        [
            max(np.mean([q[view] @ photos[view, p] for view in range(2)]) for p in np.flatnonzero(whale == LABELS))
            for whale in WHALES
        ]
        for q in queries.transpose(1, 0, 2)
    ]
    among = gallery(photos, LABELS)
    assert among.whales.tolist() == WHALES
    np.testing.assert_allclose(nearest_scores(queries, among), expected, atol=1e-6)


def test_centroid_score_is_the_cosine_to_the_mean_photo():
    queries, photos = unit(2, 5, 4), unit(2, 7, 4, seed=1)
    expected = np.zeros((5, 3))
    for w, whale in enumerate(WHALES):
        for view in range(2):
            mean = photos[view, whale == LABELS].mean(axis=0)
            expected[:, w] += queries[view] @ mean / np.linalg.norm(mean) / 2
    np.testing.assert_allclose(centroid_scores(queries, gallery(photos, LABELS)), expected, atol=1e-6)


def test_duplicates_score_their_labels():
    labels = np.array(["w_1", "w_2", "new_whale"])
    found = duplicate_scores([["w_2", "w_2"], [], ["new_whale", "w_1"], ["w_gone"]], labels)
    assert found.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]]


def test_whales_that_are_no_class_are_scored_as_if_they_were():
    nearest = np.array([[0.5, 0.9, 0.3, 0.7]], dtype=np.float32)
    of_classes = np.array([[0.1, 0.5]], dtype=np.float32)  # mean 0.3, spread 0.2; the nearest photos': 0.6 and 0.3
    found = in_class_terms(nearest, of_classes, np.array([False, True, True, False]))
    np.testing.assert_allclose(found, [[0.3 - 0.1 * 2 / 3, 0.1, 0.5, 0.3 + 0.1 * 2 / 3]], rtol=1e-5)
    nobody = in_class_terms(nearest, np.empty((1, 0), dtype=np.float32), np.zeros(4, dtype=bool))
    assert nobody.tolist() == nearest.tolist()


def test_score_table_holds_each_score_for_whales_and_new_whale():
    queries, centres = unit(2, 5, 4), unit(2, 4, 1, 4, seed=1)
    among = gallery(unit(2, 7, 4, seed=2), LABELS)
    classes = np.array(["new_whale", "w_3", "w_gone", "w_1"])
    evidence = [["w_2"], [], ["new_whale"], [], []]
    names = ["duplicates", "class", "nearest", "centroid"]
    table = score_table(names, queries, evidence, among, centres, classes)
    assert table.shape == (4, 5, 4)
    assert table[0].tolist() == [[0, 1, 0, 0], [0] * 4, [0, 0, 0, 1], [0] * 4, [0] * 4]
    of_classes, nearest = class_scores(queries, centres), nearest_scores(queries, among)
    np.testing.assert_allclose(table[1][:, [0, 2, 3]], of_classes[:, [3, 1, 0]], atol=1e-6)
    learnt = np.array([True, False, True])
    expected = in_class_terms(nearest, of_classes[:, [3, 1]], learnt)[:, 1]
    np.testing.assert_allclose(table[1][:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(table[2][:, :3], nearest, atol=1e-6)
    np.testing.assert_allclose(table[3][:, :3], centroid_scores(queries, among), atol=1e-6)
    assert not table[2:, :, 3].any()


def test_probabilities_are_a_softmax_of_weighted_scores():
    table = np.log(np.array([[[1, 4, 1]], [[2, 1, 1]]], dtype=np.float32))
    found = probabilities(table, Fusion({"class": 0.5, "nearest": 2}, bias=np.log(10)))
    np.testing.assert_allclose(found, [[4 / 16, 2 / 16, 10 / 16]], rtol=1e-6)
    assert table[0, 0, 2] == 0  # the input is left as it was


def test_probabilities_of_huge_scores_stay_finite():
    assert probabilities(np.array([[[1000, 0]]], dtype=np.float32), Fusion({"class": 99}, -99)).tolist() == [[1, 0]]


def test_a_fusion_is_read_as_it_was_written():
    fusion = Fusion({"class": 12.5, "duplicates": 3}, -1.25)
    figures = {"threshold_auto": 0.3, **fusion.as_figures()}
    assert figures == {"threshold_auto": 0.3, "weight_class": 12.5, "weight_duplicates": 3, "bias": -1.25}
    assert from_figures(figures) == fusion


def chosen(table, fusion, seed):
    """Draw a true candidate a query from its probabilities."""
    likely = np.log(probabilities(table, fusion).astype(np.float64) + 1e-300)
    return (likely + np.random.default_rng(seed).gumbel(size=likely.shape)).argmax(axis=1)


def even(queries):
    return np.full(queries, 1 / queries)


@pytest.mark.parametrize("known", [Fusion({"class": 3, "nearest": 0.7}, 1.5), Fusion({"class": 20, "nearest": 5}, -2)])
def test_weights_are_recovered(known):
    table = np.random.default_rng(0).normal(0, 0.3, (2, 20_000, 7)).astype(np.float32)
    found = fit_fusion(["class", "nearest"], table, chosen(table, known, 1), even(20_000))
    assert found.weights == pytest.approx(known.weights, rel=0.06)
    assert found.bias == pytest.approx(known.bias, abs=0.1)


def test_a_score_that_misleads_has_no_weight():
    right, *noise = np.random.default_rng(0).normal(0, 0.3, (3, 2_000, 4)).astype(np.float32)
    truth = chosen(right[None], Fusion({"class": 5}, 0), 1)
    found = fit_fusion(["class", "nearest"], np.stack([right + noise[0], noise[1] - right]), truth, even(2_000))
    assert found.weights["nearest"] == 0
    assert found.weights["class"] > 1


def test_fit_finds_the_least_loss():
    table = np.random.default_rng(2).normal(0, 1, (1, 40, 5)).astype(np.float32)
    truth, counts = chosen(table, Fusion({"class": 1.5}, 0.5), 3), np.random.default_rng(4).dirichlet(np.ones(40))

    def loss(weight, bias):
        total = 0.0
        for query in range(40):
            logits = [weight * float(score) for score in table[0, query]]
            logits[-1] += bias
            total -= counts[query] * (logits[truth[query]] - np.log(np.sum(np.exp(logits))))
        return total

    found = fit_fusion(["class"], table, truth, counts)
    weight, bias = found.weights["class"], found.bias
    least = loss(weight, bias)
    around = [(weight + x, bias + y) for x in (-0.02, 0, 0.02) for y in (-0.02, 0, 0.02) if x or y]
    assert least < min(loss(*point) for point in around)
    grid = [loss(w, b) for w in np.linspace(0, 6, 31) for b in np.linspace(-3, 3, 31)]
    assert least <= min(grid) < least + 0.02


def test_fit_by_hand():
    # the whale is right three times of four: the loss is least where its probability is 3/4
    table = np.array([[[1, 0]] * 4], dtype=np.float32)
    found = fit_fusion(["class"], table, np.array([0, 0, 0, 1]), even(4))
    assert found.weights["class"] - found.bias == pytest.approx(np.log(3), abs=1e-3)
    # and where the fourth counts as much as the three together, at 1/2
    found = fit_fusion(["class"], table, np.array([0, 0, 0, 1]), np.array([1, 1, 1, 3]) / 6)
    assert found.weights["class"] - found.bias == pytest.approx(0, abs=1e-3)


def test_weights_of_which_nothing_is_told_stay_where_they_start():
    table = np.zeros((2, 50, 3), dtype=np.float32)
    table[0] = np.random.default_rng(0).normal(0, 1, (50, 3))
    found = fit_fusion(["class", "duplicates"], table, chosen(table[:1], Fusion({"class": 2}, 0), 1), even(50))
    assert found.weights["duplicates"] == START


def test_scores_that_are_always_right_have_a_finite_weight():
    table = np.zeros((1, 6, 3), dtype=np.float32)
    table[0, :, 1] = 1
    found = fit_fusion(["class"], table, np.ones(6, dtype=np.int64), even(6))
    assert START < found.weights["class"] < LIMIT
    assert np.isfinite(found.bias)


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


def test_short_rankings_are_filled_and_labels_stay_distinct():
    answers = filled(
        ranked=[["w_9", "w_2", "w_9", "w_1", "w_2", "new_whale", "w_3"], ["w_1", "new_whale"], []],
        fill=["w_1", "w_7", "w_8", "w_5", "w_6"],
    )
    assert answers == [
        ["w_9", "w_2", "w_1", "new_whale", "w_3"],
        ["w_1", "new_whale", "w_7", "w_8", "w_5"],
        ["w_1", "w_7", "w_8", "w_5", "w_6"],
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


def test_threshold_curve_agrees_with_ranking_at_each_threshold():
    values, labels = drawn(60, 8, seed=2)
    generator = np.random.default_rng(3)
    # whales that some queries show are not among the labels, as where a variant learns a part of the whales
    truth = generator.choice(["new_whale", "w_0", "w_1", "w_2", "w_3", "w_other"], 60)
    importance = generator.dirichlet(np.ones(60))
    curve = threshold_curve(values, labels, truth, importance)
    assert curve["threshold"].tolist() == [step / 200 for step in range(201)]
    for row in curve.itertuples():
        ranks = reciprocal_ranks(rank(values, labels, row.threshold).tolist(), truth.tolist())
        known, unknown = ranks[truth != "new_whale"].mean(), ranks[truth == "new_whale"].mean()
        assert row.map5_known == pytest.approx(known)
        assert row.map5_unknown == pytest.approx(unknown)
        assert row.map5 == pytest.approx(importance @ ranks)


def test_threshold_curve_has_no_column_of_a_kind_without_queries():
    values, labels = drawn(10, 6)
    curve = threshold_curve(values, labels, np.full(10, "w_1"), even(10))
    assert list(curve) == ["threshold", "map5", "map5_known"]
    assert curve["map5"].tolist() == pytest.approx(curve["map5_known"].tolist())
    curve = threshold_curve(values, labels, np.full(10, "new_whale"), even(10))
    assert list(curve) == ["threshold", "map5", "map5_unknown"]
    assert curve["map5"].iloc[-1] == pytest.approx(1)


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
