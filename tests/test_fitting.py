"""The fit of a fusion, against scipy, worked examples and the weights that scores were drawn by."""

import numpy as np
import pytest
from scipy.optimize import minimize

from whaleid.identification import fitting
from whaleid.identification.fitting import LIMIT, START, fit_fusion, fit_fusions
from whaleid.identification.fusion import Fusion, logits


def chosen(table, fusion, seed):
    """Draw a true candidate a query from its probabilities."""
    likely = logits(table, fusion)
    return (likely + np.random.default_rng(seed).gumbel(size=likely.shape)).argmax(axis=1)


def even(queries):
    return np.full(queries, 1 / queries)


def slow_loss(point, table, truth, counts):
    """Return the ridged log loss, query by query."""
    total = fitting.RIDGE * (sum((weight - START) ** 2 for weight in point[:-1]) + point[-1] ** 2)
    for query in range(table.shape[1]):
        logits = point[:-1] @ table[:, query].astype(np.float64)
        logits[-1] += point[-1]
        total -= counts[query] * (logits[truth[query]] - np.logaddexp.reduce(logits))
    return total


def slow_fit(table, truth, counts):
    bounds = [(0, LIMIT)] * len(table) + [(-LIMIT, LIMIT)]
    begin = np.append(np.ones(len(table)), 0.0)
    found = minimize(
        slow_loss, begin, (table, truth, counts), "L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9}
    )
    return found.x


@pytest.mark.parametrize("seed", range(6))
def test_fit_agrees_with_scipy(seed):
    generator = np.random.default_rng(seed)
    scores = int(generator.integers(1, 5))
    table = generator.normal(0, generator.uniform(0.2, 1), (scores, 60, 9)).astype(np.float32)
    table[:, :, -1] = 0
    if scores > 2:
        table[2] = 0.9 * table[1] + generator.normal(0, 0.05, table[1].shape)  # all but the same
    drawn = Fusion({str(score): generator.uniform(-2, 6) for score in range(scores)}, generator.normal())
    truth, counts = chosen(table, drawn, seed), generator.dirichlet(np.ones(60))
    found = fit_fusion([str(score) for score in range(scores)], table, truth, counts)
    point = np.array([*found.weights.values(), found.bias])
    expected = slow_fit(table, truth, counts)
    assert slow_loss(point, table, truth, counts) == pytest.approx(slow_loss(expected, table, truth, counts), abs=1e-7)
    np.testing.assert_allclose(point, expected, atol=0.02)


def test_one_look_holds_slope_and_curvature():
    generator = np.random.default_rng(0)
    table = generator.normal(0, 0.7, (2, 5, 4)).astype(np.float32)
    truth, point, step = np.array([0, 1, 2, 3, 3]), np.array([1.5, 0.5, -0.3]), 1e-4

    def loss(at):
        ridge = fitting.RIDGE * (((at[:-1] - START) ** 2).sum() + at[-1] ** 2)
        return slow_loss(at, table, truth, np.ones(5)) - ridge

    look = fitting._look(point, table, truth, np.arange(5))
    assert look.loss == pytest.approx(loss(point), abs=1e-5)
    units = step * np.eye(3)
    slope = [(loss(point + unit) - loss(point - unit)) / (2 * step) for unit in units]
    np.testing.assert_allclose(look.slope, slope, atol=1e-5)
    curvature = [
        [(loss(point + a + b) - loss(point + a - b) - loss(point - a + b) + loss(point - a - b)) / (4 * step**2)
         for a in units] for b in units
    ]  # fmt: skip
    np.testing.assert_allclose(look.curvature, curvature, atol=1e-4)


def test_blocks_of_queries_change_nothing(monkeypatch):
    table = np.random.default_rng(0).normal(0, 0.5, (2, 70, 6)).astype(np.float32)
    truth = chosen(table, Fusion({"class": 3, "nearest": 1}, 1), 1)
    whole = fit_fusion(["class", "nearest"], table, truth, even(70))
    monkeypatch.setattr(fitting, "BLOCK", 40)
    assert fit_fusion(["class", "nearest"], table, truth, even(70)) == whole


def test_fits_that_leave_a_part_out_are_those_from_nothing():
    table = np.random.default_rng(0).normal(0, 0.4, (3, 900, 12)).astype(np.float32)
    truth = chosen(table, Fusion({"class": 4, "nearest": 2, "centroid": 0.5}, 2), 1)
    counts = np.stack([np.where(np.arange(900) % 5 == part, 0, 1.0) for part in range(-1, 5)])
    counts /= counts.sum(axis=1, keepdims=True)
    names = ["class", "nearest", "centroid"]
    together = fit_fusions(names, table, truth, counts)
    for fusion, alone in zip(together, (fit_fusion(names, table, truth, each) for each in counts), strict=True):
        assert fusion.weights == pytest.approx(alone.weights, abs=0.01)
        assert fusion.bias == pytest.approx(alone.bias, abs=0.01)
    assert together[1] != together[2]


def test_queries_that_count_nothing_are_not_looked_at():
    table = np.random.default_rng(0).normal(0, 0.4, (1, 90, 5)).astype(np.float32)
    truth = chosen(table, Fusion({"class": 4}, 1), 1)
    expected = fit_fusion(["class"], table[:, :60], truth[:60], even(60))
    truth[60:] = 4
    assert fit_fusion(["class"], table, truth, np.append(even(60), np.zeros(30))) == expected


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
    assert fit_fusion(["class"], table[1:], np.zeros(50, dtype=np.int64), np.zeros(50)) == Fusion({"class": START}, 0)


def test_scores_that_are_always_right_have_a_finite_weight():
    table = np.zeros((1, 6, 3), dtype=np.float32)
    table[0, :, 1] = 1
    found = fit_fusion(["class"], table, np.ones(6, dtype=np.int64), even(6))
    assert START < found.weights["class"] < LIMIT
    assert np.isfinite(found.bias)
