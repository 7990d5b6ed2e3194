"""Calibration: worked examples, scikit-learn's own answers, and drawn answers whose probabilities are known."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from whaleid.identification.calibration import Calibration, fit, logit
from whaleid.identification.fusion import TopWhales

HALF = Calibration(0.5, 0.0)


def top(values, known):
    values = np.array(values, dtype=np.float64)
    return TopWhales(np.full(values.shape, "w"), values, np.array(known))


def drawn(queries, seed=0, slope=0.5, intercept=-0.4):
    """Return probabilities of the best whale, and whether it is right: with a probability logistic in its logit."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.5, 2, queries)
    right = generator.random(queries) < 1 / (1 + np.exp(-(slope * logits + intercept)))
    return 1 / (1 + np.exp(-logits)), right


def test_probabilities_are_logistic_in_the_logit_of_the_best_whale():
    result = Calibration(2.0, 0.5).predict(np.array([0.5, 0.75]))
    assert result == pytest.approx([1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-(2 * np.log(3) + 0.5)))])


def test_the_other_whales_follow_the_best():
    # a logit of log 9, halved: 3 to 1
    result = HALF.transform(top([[0.9, 0.04, 0.02]], [0.98]))
    assert result.known_probability.tolist() == [pytest.approx(0.98 * 0.75 / 0.9)]
    assert result.probabilities.tolist() == [pytest.approx([0.75, 0.04 * 0.75 / 0.9, 0.02 * 0.75 / 0.9])]


def test_where_the_best_gains_the_others_and_new_whale_make_room():
    # a logit of -log 4, halved: 1 to 2; the other 0.8 becomes 2 in 3
    result = HALF.transform(top([[0.2, 0.19, 0.18]], [0.9]))
    assert result.probabilities[0].tolist() == pytest.approx([1 / 3, 0.19 * (2 / 3) / 0.8, 0.18 * (2 / 3) / 0.8])
    assert result.known_probability.tolist() == [pytest.approx(1 - 0.1 * (2 / 3) / 0.8)]


def test_all_whales_have_no_less_than_the_five_best_however_sums_are_rounded():
    # the best keeps even odds
    result = HALF.transform(top([[0.5, 0.3, 0.2]], [0.999]))
    assert result.known_probability.tolist() == [pytest.approx(1, abs=1e-12)]


def test_calibrated_probabilities_keep_their_order_and_a_sum_of_one_at_most():
    generator = np.random.default_rng(0)
    likely = -np.sort(-generator.dirichlet(np.full(8, 0.3), 500), axis=1)
    for calibration in (Calibration(0.3, 0.5), Calibration(1.8, -1.0), Calibration(1.0, 3.0)):
        result = calibration.transform(top(likely[:, :5], likely[:, :7].sum(axis=1)))
        assert (np.diff(result.probabilities, axis=1) <= 1e-12).all()
        assert (result.probabilities.sum(axis=1) <= result.known_probability + 1e-9).all()
        assert (result.known_probability <= 1 + 1e-9).all()
        assert (result.probabilities >= 0).all()
        # nor does the order of queries change
        assert (np.diff(result.probabilities[np.argsort(likely[:, 0]), 0]) >= 0).all()


def test_no_calibration_changes_nothing():
    assert Calibration() == Calibration(1.0, 0.0)
    values = [[0.6, 0.3], [1.0, 0.0], [0.0, 0.0]]
    result = Calibration().transform(top(values, [0.9, 1.0, 0.0]))
    assert result.probabilities.tolist() == values
    assert result.known_probability.tolist() == [0.9, 1, 0]


def test_sure_probabilities_stay_finite():
    assert logit(np.array([0.8])) == pytest.approx(np.log(4))
    assert logit(np.array([0.0, 1.0])) == pytest.approx([-np.log(1e6), np.log(1e6)], abs=2e-6)
    with np.errstate(all="raise"):
        result = HALF.transform(top([[1.0, 0.0], [0.0, 0.0]], [1.0, 0.0]))
    least = 1 / (1 + 999_999**0.5)  # of odds of a million to one, halved
    assert result.probabilities == pytest.approx(np.array([[1 - least, 0], [least, 0]]))
    assert result.known_probability == pytest.approx([1 - least, least])


def test_the_fit_is_that_of_scikit_learn():
    best, right = drawn(400)
    sample_weight = np.random.default_rng(1).dirichlet(np.ones(400))
    model = LogisticRegression(C=1e4, tol=1e-10, max_iter=1000).fit(logit(best)[:, None], right, sample_weight * 400)
    fitted = fit(best, right, sample_weight)
    assert fitted.slope == pytest.approx(model.coef_[0, 0], abs=3e-4)
    assert fitted.intercept == pytest.approx(model.intercept_[0], abs=3e-4)
    assert (fitted.slope, fitted.intercept) == (round(fitted.slope, 5), round(fitted.intercept, 5))
    assert fit(best, right, 7 * sample_weight) == fitted


def test_the_map_that_answers_were_drawn_by_is_recovered():
    best, right = drawn(20_000)
    fitted = fit(best, right, np.ones(20_000))
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-0.4, abs=0.05)


def test_probabilities_that_are_always_right_have_a_finite_slope():
    best = np.repeat([0.4, 0.6], 30)
    fitted = fit(best, best > 0.5, np.ones(60))
    assert fitted.slope == pytest.approx(21.6, abs=0.3)
    assert fitted.intercept == pytest.approx(0, abs=1e-3)
    assert fit(best, best > 0.5, np.full(60, 1e-3)) == fitted  # weights are made to sum to the number of queries


def test_nothing_is_calibrated_on_too_little():
    best, right = drawn(50)
    weight = np.ones(50)
    assert fit(best, right, weight) != Calibration()
    assert fit(best[1:], right[1:], weight[1:]) == Calibration()
    assert fit(best, np.ones(50, dtype=bool), weight) == Calibration()
    assert fit(best, np.zeros(50, dtype=bool), weight) == Calibration()


def test_a_map_that_would_reverse_the_order_of_queries_is_not_used():
    best, right = drawn(1000, slope=-1.0)
    assert fit(best, right, np.ones(1000)) == Calibration()


def test_probabilities_that_are_all_the_same_are_not_calibrated():
    assert fit(np.full(60, 0.5), np.arange(60) < 45, np.ones(60)) == Calibration()
