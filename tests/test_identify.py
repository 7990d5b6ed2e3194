"""Scores, probabilities and ranking, against worked examples and slow references."""

import numpy as np
import pytest

from whaleid.identification import decision, similarity
from whaleid.identification.answers import LABELS as COLUMNS
from whaleid.identification.answers import PROBABILITIES, decided, filled, wide
from whaleid.identification.decision import best
from whaleid.identification.fusion import Fusion
from whaleid.identification.metrics import mean_average_precision, reciprocal_ranks
from whaleid.identification.ranking import leading, rank
from whaleid.identification.similarity import (
    centroid_scores,
    class_scores,
    density,
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


@pytest.mark.parametrize("photos", [1, 2, 4, 5, 6])
def test_photos_are_compared_in_blocks_of_whole_whales(photos, monkeypatch):
    queries, among = unit(2, 5, 4), gallery(unit(2, 7, 4, seed=1), LABELS)
    expected = nearest_scores(queries, among)
    monkeypatch.setattr(similarity, "PHOTOS", photos)
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


def test_density_is_the_mean_of_the_ten_whales_most_alike():
    nearest = np.array([[0.1, 0.3, 0.2], [0.9, 0.5, 0.7]], dtype=np.float32)
    assert density(nearest).tolist() == pytest.approx([0.2, 0.7])
    many = np.random.default_rng(0).normal(size=(7, 40)).astype(np.float32)
    expected = [np.mean(sorted(row)[-10:]) for row in many.astype(float)]
    assert density(many).tolist() == pytest.approx(expected)


def test_score_table_holds_each_score_for_whales_and_new_whale():
    queries, centres = unit(2, 5, 4), unit(2, 4, 1, 4, seed=1)
    among = gallery(unit(2, 7, 4, seed=2), LABELS)
    classes = np.array(["new_whale", "w_3", "w_gone", "w_1"])
    evidence = [["w_2"], [], ["new_whale"], [], []]
    names = ["duplicates", "class", "nearest", "centroid"]
    table = score_table(names, queries, nearest_scores(queries, among), evidence, among, centres, classes)
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
    (found,) = best(table, np.array(["w_1", "w_2"]), [Fusion({"class": 0.5, "nearest": 2}, bias=np.log(10))])
    assert found.labels.tolist() == [["w_1", "w_2"]]
    np.testing.assert_allclose(found.values, [[4 / 16, 2 / 16]], rtol=1e-6)
    np.testing.assert_allclose(found.whales, [6 / 16], rtol=1e-6)
    assert table[0, 0, 2] == 0  # the input is left as it was


def test_probabilities_of_huge_scores_stay_finite_and_in_order():
    table = np.array([[[1000, 0, -1, 1, 0]]], dtype=np.float32)
    (found,) = best(table, np.array(["w_1", "w_2", "w_3", "w_4"]), [Fusion({"class": 99}, -99)])
    assert found.labels.tolist() == [["w_1", "w_4", "w_2", "w_3"]]
    assert found.values.tolist() == [[1, 0, 0, 0]]


def test_several_fusions_are_served_as_each_alone_in_blocks_of_any_size(monkeypatch):
    table = np.random.default_rng(0).normal(size=(2, 30, 12)).astype(np.float32)
    whales = np.array([f"w_{number:02}" for number in range(11)])
    fusions = [Fusion({"class": 3, "nearest": weight}, 1) for weight in (0, 2)]
    together = best(table, whales, fusions)
    monkeypatch.setattr(decision, "BLOCK", 100)
    for fusion, found in zip(fusions, together, strict=True):
        (alone,) = best(table, whales, [fusion])
        assert alone.labels.tolist() == found.labels.tolist()
        np.testing.assert_allclose(alone.values, found.values, rtol=1e-5)
        np.testing.assert_allclose(alone.whales, found.whales, rtol=1e-5)


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
    assert rank(*leading(values, labels), threshold)[0].tolist() == expected


def test_rank_places_new_whale_at_its_threshold():
    labels, values = np.array([["w_1", "w_2", "w_3"]] * 3), np.array([[0.6, 0.3, 0.1]] * 3)
    ranked, likely = rank(labels, values, np.array([0.0, 0.2, 1.0]))  # a query each
    assert ranked.tolist() == [
        ["w_1", "w_2", "w_3", "new_whale"],
        ["w_1", "w_2", "new_whale", "w_3"],
        ["new_whale", "w_1", "w_2", "w_3"],
    ]
    assert likely.tolist() == [[0.6, 0.3, 0.1, 0.0], [0.6, 0.3, 0.2, 0.1], [1.0, 0.6, 0.3, 0.1]]
    for threshold, expected in zip((0.0, 0.2, 1.0), ranked.tolist(), strict=True):
        assert rank(labels[:1], values[:1], threshold)[0].tolist() == [expected]


def test_answers_are_laid_out_and_decided():
    laid = wide(np.array([["w_1", "w_2"], ["w_2", "w_1"]]), np.array([[0.6, 0.2], [0.5, 0.3]]))
    assert laid.to_numpy().tolist() == [
        ["w_1", "w_2", "", "", "", 0.6, 0.2, 0, 0, 0],
        ["w_2", "w_1", "", "", "", 0.5, 0.3, 0, 0, 0],
    ]
    decided_at = decided(laid.assign(truth=["w_2", "new_whale"]), np.array([0.4, 0.1]))
    assert decided_at[["threshold", "rank", "first"]].to_numpy().tolist() == [[0.4, 3, "w_1"], [0.1, 3, "w_2"]]
    decided_at = decided(laid.assign(truth=["w_3", "w_2"]), 0.5)  # above, not at
    assert decided_at[["threshold", "rank", "first"]].to_numpy().tolist() == [[0.5, 0, "w_1"], [0.5, 2, "new_whale"]]


def test_short_rankings_are_filled_and_labels_stay_distinct():
    short = wide(np.array([["w_9", "w_2"], ["w_1", "w_7"], ["", ""]]), np.array([[0.6, 0.2], [0.3, 0.1], [0, 0]]))
    full = filled(short, ["w_1", "w_7", "w_8", "w_5", "w_6"])
    assert full[COLUMNS].to_numpy().tolist() == [
        ["w_9", "w_2", "w_1", "w_7", "w_8"],
        ["w_1", "w_7", "w_8", "w_5", "w_6"],
        ["w_1", "w_7", "w_8", "w_5", "w_6"],
    ]
    assert full[PROBABILITIES].to_numpy().tolist() == [[0.6, 0.2, 0, 0, 0], [0.3, 0.1, 0, 0, 0], [0] * 5]
    assert filled(short, ["w_2"])[COLUMNS].to_numpy().tolist()[2] == ["w_2", "", "", "", ""]


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
