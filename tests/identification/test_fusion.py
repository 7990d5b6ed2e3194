"""The fit of a fusion, against a slow search, worked examples and the weights that scores were drawn by."""

import numpy as np
import pytest
from scipy.optimize import minimize

from whaleid.identification import fusion
from whaleid.identification.fusion import LIMIT, RIDGE, START, Fusion, fit, log_loss, predict


def chosen(table, known, seed):
    """Draw a true candidate a query from its probabilities."""
    logits = np.tensordot([*known.weights.values()], table, axes=1)
    logits[:, -1] += known.bias
    return (logits + np.random.default_rng(seed).gumbel(size=logits.shape)).argmax(axis=1)


def even(queries):
    return np.full(queries, 1 / queries)


def slow_loss(point, table, truth, sample_weight):
    """Return the ridged log loss, query by query."""
    total = RIDGE * (sum((weight - START) ** 2 for weight in point[:-1]) + point[-1] ** 2)
    for query in range(table.shape[1]):
        logits = point[:-1] @ table[:, query].astype(np.float64)
        logits[-1] += point[-1]
        total -= sample_weight[query] * (logits[truth[query]] - np.logaddexp.reduce(logits))
    return total


def slow_fit(table, truth, sample_weight):
    """Search without a gradient, from another start."""
    bounds = [(0, LIMIT)] * len(table) + [(-LIMIT, LIMIT)]
    begin = np.append(np.full(len(table), 5.0), 1.0)
    options = {"xtol": 1e-6, "ftol": 1e-12, "maxiter": 20_000}
    found = minimize(slow_loss, begin, (table, truth, sample_weight), "Powell", bounds=bounds, options=options)
    return found.x


@pytest.mark.parametrize("seed", range(4))
def test_fit_agrees_with_a_slow_search(seed):
    generator = np.random.default_rng(seed)
    scores = int(generator.integers(1, 4))
    table = generator.normal(0, generator.uniform(0.2, 1), (scores, 60, 9)).astype(np.float32)
    table[:, :, -1] = 0
    known = Fusion({str(score): generator.uniform(-2, 6) for score in range(scores)}, generator.normal())
    truth, sample_weight = chosen(table, known, seed), generator.dirichlet(np.ones(60))
    found = fit([str(score) for score in range(scores)], table, truth, sample_weight)
    point = np.array([*found.weights.values(), found.bias])
    expected = slow_fit(table, truth, sample_weight)
    losses = [slow_loss(each, table, truth, sample_weight) for each in (point, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-6)
    np.testing.assert_allclose(point, expected, atol=0.05)


def test_loss_and_gradient_agree_with_finite_differences():
    generator = np.random.default_rng(0)
    table = generator.normal(0, 0.7, (2, 5, 4)).astype(np.float32)
    truth, point, step = np.array([0, 1, 2, 3, 3]), np.array([1.5, 0.5, -0.3]), 1e-4
    sample_weight = generator.dirichlet(np.ones(5))
    loss, gradient = log_loss(point, table, truth, sample_weight)
    assert loss == pytest.approx(slow_loss(point, table, truth, sample_weight), abs=1e-6)
    differences = [
        slow_loss(point + unit, table, truth, sample_weight) - slow_loss(point - unit, table, truth, sample_weight)
        for unit in step * np.eye(3)
    ]
    np.testing.assert_allclose(gradient, np.array(differences) / (2 * step), atol=1e-5)


def test_blocks_of_queries_change_nothing(monkeypatch):
    table = np.random.default_rng(0).normal(0, 0.5, (2, 70, 6)).astype(np.float32)
    truth = chosen(table, Fusion({"class": 3, "nearest": 1}, 1), 1)
    loss, gradient = log_loss(np.array([2.0, 1.0, 0.5]), table, truth, even(70))
    monkeypatch.setattr(fusion, "BLOCK", 40)
    again = log_loss(np.array([2.0, 1.0, 0.5]), table, truth, even(70))
    assert again[0] == pytest.approx(loss)
    np.testing.assert_allclose(again[1], gradient, rtol=1e-5)


def test_a_search_from_a_start_ends_where_one_from_the_beginning_does():
    table = np.random.default_rng(0).normal(0, 0.4, (3, 900, 12)).astype(np.float32)
    truth = chosen(table, Fusion({"class": 4, "nearest": 2, "centroid": 0.5}, 2), 1)
    names = ["class", "nearest", "centroid"]
    subset = np.where(np.arange(900) % 5 == 0, 0, 1 / 720)
    start = fit(names, table, truth, even(900))
    found, alone = fit(names, table, truth, subset, start), fit(names, table, truth, subset)
    assert found.weights == pytest.approx(alone.weights, abs=0.02)
    assert found.bias == pytest.approx(alone.bias, abs=0.02)
    assert found != start


def test_queries_without_weight_change_nothing():
    table = np.random.default_rng(0).normal(0, 0.4, (1, 90, 5)).astype(np.float32)
    truth = chosen(table, Fusion({"class": 4}, 1), 1)
    expected = fit(["class"], table[:, :60], truth[:60], even(60))
    truth[60:] = 4
    assert fit(["class"], table, truth, np.append(even(60), np.zeros(30))) == expected


@pytest.mark.parametrize("known", [Fusion({"class": 3, "nearest": 0.7}, 1.5), Fusion({"class": 20, "nearest": 5}, -2)])
def test_weights_are_recovered(known):
    table = np.random.default_rng(0).normal(0, 0.3, (2, 20_000, 7)).astype(np.float32)
    found = fit(["class", "nearest"], table, chosen(table, known, 1), even(20_000))
    assert found.weights == pytest.approx(known.weights, rel=0.06)
    assert found.bias == pytest.approx(known.bias, abs=0.1)


def test_a_score_that_misleads_has_no_weight():
    right, *noise = np.random.default_rng(0).normal(0, 0.3, (3, 2_000, 4)).astype(np.float32)
    truth = chosen(right[None], Fusion({"class": 5}, 0), 1)
    found = fit(["class", "nearest"], np.stack([right + noise[0], noise[1] - right]), truth, even(2_000))
    assert found.weights["nearest"] == 0
    assert found.weights["class"] > 1


def test_fit_by_hand():
    # the whale is right three times of four: the loss is least where its probability is 3/4
    table = np.array([[[1, 0]] * 4], dtype=np.float32)
    found = fit(["class"], table, np.array([0, 0, 0, 1]), even(4))
    assert found.weights["class"] - found.bias == pytest.approx(np.log(3), abs=5e-3)
    # and where the fourth weighs as much as the three together, at 1/2
    found = fit(["class"], table, np.array([0, 0, 0, 1]), np.array([1, 1, 1, 3]) / 6)
    assert found.weights["class"] - found.bias == pytest.approx(0, abs=5e-3)


def test_scores_that_are_always_right_have_a_finite_weight():
    table = np.zeros((1, 6, 3), dtype=np.float32)
    table[0, :, 1] = 1
    found = fit(["class"], table, np.ones(6, dtype=np.int64), even(6))
    assert START < found.weights["class"] <= LIMIT
    assert np.isfinite(found.bias)


def test_probabilities_are_a_softmax_of_weighted_scores():
    table = np.log(np.array([[[1, 4, 1]], [[2, 1, 1]]], dtype=np.float32))
    found = predict(Fusion({"class": 0.5, "nearest": 2}, bias=np.log(10)), table, np.array(["w_1", "w_2"]))
    assert found.labels.tolist() == [["w_1", "w_2"]]
    np.testing.assert_allclose(found.values, [[4 / 16, 2 / 16]], rtol=1e-6)
    np.testing.assert_allclose(found.known, [6 / 16], rtol=1e-6)
    assert table[0, 0, 2] == 0  # the input is left as it was


def test_probabilities_of_huge_scores_stay_finite_and_in_order():
    table = np.array([[[1000, 0, -1, 1, 0]]], dtype=np.float32)
    found = predict(Fusion({"class": 99}, -99), table, np.array(["w_1", "w_2", "w_3", "w_4"]))
    assert found.labels.tolist() == [["w_1", "w_4", "w_2", "w_3"]]
    assert found.values.tolist() == [[1, 0, 0, 0]]


def test_queries_are_predicted_alike_in_blocks_of_any_size(monkeypatch):
    table = np.random.default_rng(0).normal(size=(2, 30, 12)).astype(np.float32)
    whales = np.array([f"w_{number:02}" for number in range(11)])
    known = Fusion({"class": 3, "nearest": 2}, 1)
    whole = predict(known, table, whales)
    monkeypatch.setattr(fusion, "BLOCK", 100)
    found = predict(known, table, whales)
    assert found.labels.tolist() == whole.labels.tolist()
    np.testing.assert_allclose(found.values, whole.values, rtol=1e-5)
    np.testing.assert_allclose(found.known, whole.known, rtol=1e-5)
