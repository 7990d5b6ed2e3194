"""Fusion: comparison with a slow optimiser, worked examples, and simulated scores with known weights."""

import numpy as np
import pytest
from scipy.optimize import minimize

from whaleid.identification import fusion
from whaleid.identification.fusion import Fusion, fit, log_loss, predict


def simulate_truth(table, known, seed):
    """Draw the true candidate of each query from its probabilities under the fusion `known`."""
    logits = np.tensordot([*known.weights.values()], table, axes=1)
    logits[:, -1] += known.bias
    return (logits + np.random.default_rng(seed).gumbel(size=logits.shape)).argmax(axis=1)


def uniform(queries):
    return np.full(queries, 1 / queries)


def slow_loss(coefficients, table, y, sample_weight):
    """Compute the log loss in float64, with a penalty on the squared distance from weights of 10 and a bias of 0."""
    logits = np.tensordot(coefficients[:-1], table.astype(np.float64), axes=1)
    logits[:, -1] += coefficients[-1]
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]
    return 1e-6 * (((coefficients[:-1] - 10) ** 2).sum() + coefficients[-1] ** 2) + sample_weight @ losses


@pytest.mark.parametrize("seed", range(3))
def test_fit_agrees_with_a_slow_optimiser(seed):
    generator = np.random.default_rng(seed)
    scores = int(generator.integers(1, 4))
    table = generator.normal(0, generator.uniform(0.2, 1), (scores, 60, 9)).astype(np.float32)
    table[:, :, -1] = 0
    known = Fusion({str(score): generator.uniform(-2, 6) for score in range(scores)}, generator.normal())
    y, sample_weight = simulate_truth(table, known, seed), generator.dirichlet(np.ones(60))
    result = fit([str(score) for score in range(scores)], table, y, sample_weight)
    coefficients = np.array([*result.weights.values(), result.bias])
    # Powell's method uses no gradient, and starts from another point
    bounds = [(0, 99)] * scores + [(-99, 99)]
    begin = np.append(np.full(scores, 5.0), 1.0)
    options = {"xtol": 1e-6, "ftol": 1e-12, "maxiter": 20_000}
    slow = minimize(slow_loss, begin, (table, y, sample_weight), "Powell", bounds=bounds, options=options)
    assert slow_loss(coefficients, table, y, sample_weight) == pytest.approx(slow.fun, abs=2e-6)
    np.testing.assert_allclose(coefficients, slow.x, atol=0.05)


def test_loss_and_gradient_agree_with_finite_differences():
    generator = np.random.default_rng(0)
    table = generator.normal(0, 0.7, (2, 5, 4)).astype(np.float32)
    y, step = np.array([0, 1, 2, 3, 3]), 1e-4
    sample_weight = generator.dirichlet(np.ones(5))
    for coefficients in (
        np.array([1.5, 0.5, -0.3]),
        np.array([90.0, 30.0, 80.0]),
    ):  # the penalty is large for the second
        loss, gradient = log_loss(coefficients, table, y, sample_weight)
        assert loss == pytest.approx(slow_loss(coefficients, table, y, sample_weight), rel=1e-6)
        differences = [
            slow_loss(coefficients + unit, table, y, sample_weight)
            - slow_loss(coefficients - unit, table, y, sample_weight)
            for unit in step * np.eye(3)
        ]
        np.testing.assert_allclose(gradient, np.array(differences) / (2 * step), atol=1e-5)


def test_the_loss_does_not_depend_on_the_block_size(monkeypatch):
    table = np.random.default_rng(0).normal(0, 0.5, (2, 70, 6)).astype(np.float32)
    y = simulate_truth(table, Fusion({"class": 3, "nearest": 1}, 1), 1)
    loss, gradient = log_loss(np.array([2.0, 1.0, 0.5]), table, y, uniform(70))
    for block in (40, 1):
        monkeypatch.setattr(fusion, "BLOCK", block)
        again = log_loss(np.array([2.0, 1.0, 0.5]), table, y, uniform(70))
        assert again[0] == pytest.approx(loss)
        np.testing.assert_allclose(again[1], gradient, rtol=1e-5)


def test_the_result_does_not_depend_on_the_start():
    table = np.random.default_rng(0).normal(0, 0.4, (3, 900, 12)).astype(np.float32)
    y = simulate_truth(table, Fusion({"class": 4, "nearest": 2, "centroid": 0.5}, 2), 1)
    names = ["class", "nearest", "centroid"]
    subset = np.where(np.arange(900) % 5 == 0, 0, 1 / 720)
    start = fit(names, table, y, uniform(900))
    result, expected = fit(names, table, y, subset, start), fit(names, table, y, subset)
    assert result.weights == pytest.approx(expected.weights, abs=0.02)
    assert result.bias == pytest.approx(expected.bias, abs=0.02)
    assert result != start


def test_queries_without_weight_do_not_affect_the_fit():
    table = np.random.default_rng(0).normal(0, 0.4, (1, 90, 5)).astype(np.float32)
    y = simulate_truth(table, Fusion({"class": 4}, 1), 1)
    expected = fit(["class"], table[:, :60], y[:60], uniform(60))
    y[60:] = 4
    assert fit(["class"], table, y, np.append(uniform(60), np.zeros(30))) == expected


@pytest.mark.parametrize("known", [Fusion({"class": 3, "nearest": 0.7}, 1.5), Fusion({"class": 20, "nearest": 5}, -2)])
def test_fit_recovers_the_simulated_weights(known):
    table = np.random.default_rng(0).normal(0, 0.3, (2, 20_000, 7)).astype(np.float32)
    result = fit(["class", "nearest"], table, simulate_truth(table, known, 1), uniform(20_000))
    assert result.weights == pytest.approx(known.weights, rel=0.06)
    assert result.bias == pytest.approx(known.bias, abs=0.1)


def test_a_misleading_score_has_weight_0():
    score, *noise = np.random.default_rng(0).normal(0, 0.3, (3, 2_000, 4)).astype(np.float32)
    y = simulate_truth(score[None], Fusion({"class": 5}, 0), 1)
    result = fit(["class", "nearest"], np.stack([score + noise[0], noise[1] - score]), y, uniform(2_000))
    assert result.weights["nearest"] == 0
    assert result.weights["class"] > 1


def test_fit_by_hand():
    # the whale is the true candidate for three of four queries: the optimal probability is 3/4
    table = np.array([[[1, 0]] * 4], dtype=np.float32)
    result = fit(["class"], table, np.array([0, 0, 0, 1]), uniform(4))
    assert result.weights["class"] - result.bias == pytest.approx(np.log(3), abs=5e-3)
    assert result.weights["class"] == round(result.weights["class"], 4)
    # if the fourth query weighs as much as the other three, the optimal probability is 1/2
    result = fit(["class"], table, np.array([0, 0, 0, 1]), np.array([1, 1, 1, 3]) / 6)
    assert result.weights["class"] - result.bias == pytest.approx(0, abs=5e-3)


def test_an_uninformative_score_keeps_the_prior_weight():
    table = np.zeros((2, 40, 3), dtype=np.float32)
    table[0] = np.random.default_rng(0).normal(0, 1, (40, 3))
    y = simulate_truth(table, Fusion({"class": 1, "duplicates": 0}, 0), 1)
    start = Fusion({"class": 1.0, "duplicates": 10.0}, 0.0)
    assert fit(["class", "duplicates"], table, y, uniform(40), start).weights["duplicates"] == pytest.approx(10)


def test_a_score_that_is_always_correct_has_the_largest_weight():
    table = np.zeros((1, 6, 3), dtype=np.float32)
    table[0, :, 1] = 0.01
    result = fit(["class"], table, np.ones(6, dtype=np.int64), uniform(6))
    assert result.weights == {"class": 99}
    assert -99 < result.bias < 0


def test_probabilities_are_a_softmax_of_weighted_scores():
    table = np.log(np.array([[[1, 4, 1]], [[2, 1, 1]]], dtype=np.float32))
    result = predict(Fusion({"class": 0.5, "nearest": 2}, bias=np.log(10)), table, np.array(["w_1", "w_2"]))
    assert result.labels.tolist() == [["w_1", "w_2"]]
    np.testing.assert_allclose(result.probabilities, [[4 / 16, 2 / 16]], rtol=1e-6)
    np.testing.assert_allclose(result.known_probability, [6 / 16], rtol=1e-6)
    assert table[0, 0, 2] == 0  # the input is unchanged


def test_probabilities_of_huge_scores_stay_finite_and_in_order():
    table = np.array([[[1000, 0, -1, 1, 0]]], dtype=np.float32)
    result = predict(Fusion({"class": 99}, -99), table, np.array(["w_1", "w_2", "w_3", "w_4"]))
    assert result.labels.tolist() == [["w_1", "w_4", "w_2", "w_3"]]
    assert result.probabilities.tolist() == [[1, 0, 0, 0]]
    # logits are clipped at -60
    result = predict(Fusion({"class": 1}, 1000), table[:, :, 1:], np.array(["w_2", "w_3", "w_4"]))
    assert result.known_probability == pytest.approx([3 * np.exp(-60)], rel=1e-5, abs=0)


def test_predictions_do_not_depend_on_the_block_size(monkeypatch):
    table = np.random.default_rng(0).normal(size=(2, 30, 12)).astype(np.float32)
    whales = np.array([f"w_{number:02}" for number in range(11)])
    known = Fusion({"class": 3, "nearest": 2}, 1)
    expected = predict(known, table, whales)
    monkeypatch.setattr(fusion, "BLOCK", 100)
    result = predict(known, table, whales)
    assert result.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(result.probabilities, expected.probabilities, rtol=1e-5)
    np.testing.assert_allclose(result.known_probability, expected.known_probability, rtol=1e-5)


def test_the_known_probability_is_summed_in_double_precision():
    result = predict(Fusion({"class": 1}, 0), np.zeros((1, 1, 3), dtype=np.float32), np.array(["w_1", "w_2"]))
    assert result.known_probability.tolist() == [2 / 3]
    assert result.probabilities.tolist() == [[1 / 3, 1 / 3]]
