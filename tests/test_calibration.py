"""Calibration: worked examples, scikit-learn's own answers, and drawn answers whose probabilities are known."""

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from whaleid.identification import calibration
from whaleid.identification.calibrating import choose, fit, log_loss, losses
from whaleid.identification.calibration import Calibration, features

HALF = Calibration("temperature", {"logit": 0.5}, 0.0)


def values(*rows):
    return np.array(rows, dtype=np.float64)


def drawn(queries, seed=0, slope=0.5, intercept=-0.4):
    """Return features, and answers that are right with a probability logistic in the first."""
    generator = np.random.default_rng(seed)
    sure = generator.normal(0.5, 2, queries)
    found = np.column_stack([sure, generator.exponential(2, queries), generator.normal(0.4, 0.1, queries)])
    return found, generator.random(queries) < 1 / (1 + np.exp(-(slope * sure + intercept)))


def test_features_by_hand():
    found = features(values([0.8, 0.1, 0.05], [0.5, 0.5, 0.0]), np.array([0.3, 0.2]))
    np.testing.assert_allclose(found, [[np.log(4), np.log(8), 0.3], [0, 0, 0.2]])
    certain = features(values([1.0, 0.0]), np.zeros(1))
    assert certain[0, :2].tolist() == pytest.approx([np.log(1e6 - 1), np.log(1e6 - 1)], abs=1e-5)
    assert features(values([0.5]), np.zeros(1))[0, 1] == pytest.approx(np.log(0.5e6))  # no second whale


def test_the_other_whales_follow_the_best():
    # a logit of log 9, halved: 3 to 1
    found, together = HALF.apply(values([0.9, 0.04, 0.02]), np.array([0.98]), np.zeros(1))
    assert together.tolist() == [pytest.approx(0.98 * 0.75 / 0.9)]
    assert found.tolist() == [pytest.approx([0.75, 0.04 * 0.75 / 0.9, 0.02 * 0.75 / 0.9])]


def test_where_the_best_gains_the_others_and_new_whale_make_room():
    # a logit of -log 4, halved: 1 to 2; what the 0.8 beside it had becomes 2 in 3
    found, together = HALF.apply(values([0.2, 0.19, 0.18]), np.array([0.9]), np.zeros(1))
    assert found[0].tolist() == pytest.approx([1 / 3, 0.19 * (2 / 3) / 0.8, 0.18 * (2 / 3) / 0.8])
    assert together.tolist() == [pytest.approx(1 - 0.1 * (2 / 3) / 0.8)]


def test_calibrated_probabilities_keep_their_order_and_a_sum_of_one_at_most():
    generator = np.random.default_rng(0)
    likely = -np.sort(-generator.dirichlet(np.full(8, 0.3), 500), axis=1)
    for slope, intercept in ((0.3, 0.5), (1.8, -1.0), (1.0, 3.0)):
        found, together = Calibration("logistic", {"logit": slope}, intercept).apply(
            likely[:, :5], likely[:, :7].sum(axis=1), np.zeros(500)
        )
        assert (np.diff(found, axis=1) <= 1e-12).all()
        assert (found.sum(axis=1) <= together + 1e-9).all()
        assert (together <= 1 + 1e-9).all()
        assert (found >= 0).all()


def test_no_calibration_changes_nothing():
    likely = values([0.6, 0.3], [1.0, 0.0], [0.0, 0.0])
    found, together = Calibration().apply(likely, likely.sum(axis=1), np.zeros(3))
    assert found.tolist() == likely.tolist()
    assert together.tolist() == [pytest.approx(0.9), 1, 0]
    assert HALF.apply(likely, likely.sum(axis=1), np.zeros(3))[0][1].tolist() == [pytest.approx(0.999), 0]


def test_isotonic_goes_straight_between_its_knots():
    steps = Calibration("isotonic", knots=((-1.0, 0.2), (1.0, 0.4), (3.0, 0.9)))
    asked = np.column_stack([[-5, -1, 0, 2, 9], np.zeros(5), np.zeros(5)])
    assert steps.right(asked).tolist() == pytest.approx([0.2, 0.2, 0.3, 0.65, 0.9])


@pytest.mark.parametrize("method", ["none", "temperature", "logistic", "logistic_features", "isotonic"])
def test_a_calibration_is_read_as_it_was_written(method):
    found, right = drawn(300)
    fitted = fit(method, found, right, np.ones(300))
    again = calibration.from_json(json.loads(json.dumps(fitted.as_json())))
    assert again == fitted
    assert again.right(found).tolist() == fitted.right(found).tolist()


def test_fits_are_those_of_scikit_learn():
    found, right = drawn(400)
    counts = np.random.default_rng(1).dirichlet(np.ones(400))
    model = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(found, right, counts * 400)
    expected = model.predict_proba(found)[:, 1]
    np.testing.assert_allclose(fit("logistic_features", found, right, counts).right(found), expected, atol=1e-3)
    rising = IsotonicRegression(y_min=1 / 402, y_max=1 - 1 / 402, out_of_bounds="clip").fit(found[:, 0], right, counts)
    np.testing.assert_allclose(
        fit("isotonic", found, right, counts).right(found), rising.predict(found[:, 0]), atol=1e-4
    )


def test_temperature_is_a_slope_alone():
    # of four at a logit of 2, three are right: the slope is log 3 / 2
    found = np.column_stack([[2.0, 2, 2, 2], np.zeros(4), np.zeros(4)])
    fitted = fit("temperature", found, np.array([True, True, True, False]), np.ones(4))
    assert fitted.weights == {"logit": pytest.approx(np.log(3) / 2, abs=1e-3)}
    assert fitted.intercept == 0


def test_what_was_drawn_by_is_recovered_and_chosen():
    found, right = drawn(20_000)
    parts = np.arange(20_000) % 5
    fitted = fit("logistic", found, right, np.ones(20_000))
    assert fitted.weights["logit"] == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-0.4, abs=0.05)
    lost = losses(found, right, np.ones(20_000), parts)
    assert list(lost) == ["none", "temperature", "logistic", "logistic_features", "isotonic"]
    assert lost["logistic"] < lost["temperature"] < lost["none"]
    chosen = choose(found, right, np.ones(20_000), parts, ["none", "temperature", "logistic"])
    assert chosen == fitted


def test_a_calibration_that_learns_by_heart_is_not_chosen():
    found, right = drawn(60, slope=1.0, intercept=0.0)  # as the fusion says already
    chosen = choose(found, right, np.ones(60), np.arange(60) % 5)
    assert chosen.method in ("none", "temperature")


def test_where_nothing_is_told_nothing_is_calibrated():
    found, right = drawn(60)
    for told in (np.ones(60, dtype=bool), np.arange(60) == 3):  # one that is right is in no other part
        assert choose(found, told, np.ones(60), np.arange(60) % 5) == Calibration()
    assert choose(found[:49], right[:49], np.ones(49), np.arange(49) % 5) == Calibration()  # too few
    assert choose(found[:0], right[:0], np.ones(0), np.arange(0)) == Calibration()


def test_log_loss_by_hand():
    said, right, counts = np.array([0.8, 0.4]), np.array([True, False]), np.array([1.0, 3.0])
    assert log_loss(said, right, counts) == pytest.approx(-(np.log(0.8) + 3 * np.log(0.6)) / 4)
