"""Calibration: worked examples, comparison with scikit-learn, and simulated answers with a known calibration."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from whaleid.identification.calibration import Calibration, fit, logit
from whaleid.identification.fusion import TopWhales

HALF = Calibration(0.5, 0.0)


def top(values, known):
    values = np.array(values, dtype=np.float64)
    return TopWhales(np.full(values.shape, "w"), values, np.array(known))


def simulate(queries, seed=0, slope=0.5, intercept=-0.4):
    """Simulate probabilities of the best whale, and whether it is correct, with a known slope and intercept."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.5, 2, queries)
    correct = generator.random(queries) < 1 / (1 + np.exp(-(slope * logits + intercept)))
    return 1 / (1 + np.exp(-logits)), correct


def test_predict_is_logistic_in_the_logit():
    result = Calibration(2.0, 0.5).predict(np.array([0.5, 0.75]))
    assert result == pytest.approx([1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-(2 * np.log(3) + 0.5)))])


def test_if_the_best_probability_decreases_the_others_decrease_by_the_same_factor():
    # a logit of log 9, halved: 3 to 1
    result = HALF.transform(top([[0.9, 0.04, 0.02]], [0.98]))
    assert result.known_probability.tolist() == [pytest.approx(0.98 * 0.75 / 0.9)]
    assert result.probabilities.tolist() == [pytest.approx([0.75, 0.04 * 0.75 / 0.9, 0.02 * 0.75 / 0.9])]


def test_if_the_best_probability_increases_the_others_and_new_whale_decrease():
    # a logit of -log 4, halved: 1 to 2; the other 0.8 becomes 2 in 3
    result = HALF.transform(top([[0.2, 0.19, 0.18]], [0.9]))
    assert result.probabilities[0].tolist() == pytest.approx([1 / 3, 0.19 * (2 / 3) / 0.8, 0.18 * (2 / 3) / 0.8])
    assert result.known_probability.tolist() == [pytest.approx(1 - 0.1 * (2 / 3) / 0.8)]


def test_known_probability_is_at_least_the_sum_of_the_best_despite_rounding():
    # even odds do not change
    result = HALF.transform(top([[0.5, 0.3, 0.2]], [0.999]))
    assert result.known_probability.tolist() == [pytest.approx(1, abs=1e-12)]


def test_calibrated_probabilities_keep_their_order_and_sum_to_at_most_one():
    generator = np.random.default_rng(0)
    probabilities = -np.sort(-generator.dirichlet(np.full(8, 0.3), 500), axis=1)
    for calibration in (Calibration(0.3, 0.5), Calibration(1.8, -1.0), Calibration(1.0, 3.0)):
        result = calibration.transform(top(probabilities[:, :5], probabilities[:, :7].sum(axis=1)))
        assert (np.diff(result.probabilities, axis=1) <= 1e-12).all()
        assert (result.probabilities.sum(axis=1) <= result.known_probability + 1e-9).all()
        assert (result.known_probability <= 1 + 1e-9).all()
        assert (result.probabilities >= 0).all()
        # the order of queries does not change either
        assert (np.diff(result.probabilities[np.argsort(probabilities[:, 0]), 0]) >= 0).all()


def test_the_default_calibration_is_the_identity():
    assert Calibration() == Calibration(1.0, 0.0)
    values = [[0.6, 0.3], [1.0, 0.0], [0.0, 0.0]]
    result = Calibration().transform(top(values, [0.9, 1.0, 0.0]))
    assert result.probabilities.tolist() == values
    assert result.known_probability.tolist() == [0.9, 1, 0]


def test_probabilities_of_0_and_1_stay_finite():
    assert logit(np.array([0.8])) == pytest.approx(np.log(4))
    assert logit(np.array([0.0, 1.0])) == pytest.approx([-np.log(1e6), np.log(1e6)], abs=2e-6)
    with np.errstate(all="raise"):
        result = HALF.transform(top([[1.0, 0.0], [0.0, 0.0]], [1.0, 0.0]))
    least = 1 / (1 + 999_999**0.5)  # the logit of odds of a million to one, halved
    assert result.probabilities == pytest.approx(np.array([[1 - least, 0], [least, 0]]))
    assert result.known_probability == pytest.approx([1 - least, least])


def test_fit_agrees_with_scikit_learn():
    best, correct = simulate(400)
    sample_weight = np.random.default_rng(1).dirichlet(np.ones(400))
    model = LogisticRegression(C=1e4, tol=1e-10, max_iter=1000).fit(logit(best)[:, None], correct, sample_weight * 400)
    fitted = fit(best, correct, sample_weight)
    assert fitted.slope == pytest.approx(model.coef_[0, 0], abs=3e-4)
    assert fitted.intercept == pytest.approx(model.intercept_[0], abs=3e-4)
    assert (fitted.slope, fitted.intercept) == (round(fitted.slope, 5), round(fitted.intercept, 5))
    assert fit(best, correct, 7 * sample_weight) == fitted


def test_fit_recovers_the_simulated_calibration():
    best, correct = simulate(20_000)
    fitted = fit(best, correct, np.ones(20_000))
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-0.4, abs=0.05)


def test_perfectly_separable_answers_have_a_finite_slope():
    best = np.repeat([0.4, 0.6], 30)
    fitted = fit(best, best > 0.5, np.ones(60))
    assert fitted.slope == pytest.approx(21.6, abs=0.3)
    assert fitted.intercept == pytest.approx(0, abs=1e-3)
    assert fit(best, best > 0.5, np.full(60, 1e-3)) == fitted  # weights are normalised to sum to the number of queries


def test_too_few_or_uniform_answers_give_the_identity():
    best, correct = simulate(50)
    weight = np.ones(50)
    assert fit(best, correct, weight) != Calibration()
    assert fit(best[1:], correct[1:], weight[1:]) == Calibration()
    assert fit(best, np.ones(50, dtype=bool), weight) == Calibration()
    assert fit(best, np.zeros(50, dtype=bool), weight) == Calibration()


def test_a_negative_slope_is_not_used():
    best, correct = simulate(1000, slope=-1.0)
    assert fit(best, correct, np.ones(1000)) == Calibration()


def test_constant_probabilities_are_not_calibrated():
    assert fit(np.full(60, 0.5), np.arange(60) < 45, np.ones(60)) == Calibration()
