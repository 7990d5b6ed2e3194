"""The curve over thresholds, against ranking at each of them, and the threshold taken from it."""

import numpy as np
import pandas as pd
import pytest

from whaleid.identification.metrics import reciprocal_ranks
from whaleid.identification.ranking import leading, rank
from whaleid.identification.threshold import THRESHOLDS, best_threshold, smoothed, threshold_curve


def drawn(queries, whales, seed=0):
    """Return the best whales of queries with many ties."""
    values = np.random.default_rng(seed).integers(0, 12, (queries, whales)) / 20
    return leading(values.astype(np.float32), np.array([f"w_{number}" for number in range(whales)]))


def even(queries):
    return np.full(queries, 1 / queries)


def test_curve_agrees_with_ranking_at_each_threshold():
    labels, values = drawn(60, 8, seed=2)
    generator = np.random.default_rng(3)
    # whales that some queries show are not among the labels, as where a variant learns a part of the whales
    truth = generator.choice(["new_whale", "w_0", "w_1", "w_2", "w_3", "w_other"], 60)
    sample_weight = generator.dirichlet(np.ones(60)) * (generator.random(60) < 0.8)
    curve = threshold_curve(labels, values, truth, sample_weight)
    assert curve["threshold"].tolist() == [step / 200 for step in range(201)]
    counted = sample_weight > 0
    for row in curve.itertuples():
        ranks = reciprocal_ranks(rank(labels, values, row.threshold)[0].tolist(), truth.tolist())
        assert row.map5_known == pytest.approx(ranks[(truth != "new_whale") & counted].mean())
        assert row.map5_unknown == pytest.approx(ranks[(truth == "new_whale") & counted].mean())
        assert row.map5 == pytest.approx(sample_weight @ ranks)


def test_curve_has_no_column_of_a_kind_without_queries():
    labels, values = drawn(10, 6)
    curve = threshold_curve(labels, values, np.full(10, "w_1"), even(10))
    assert list(curve) == ["threshold", "map5", "map5_known"]
    assert curve["map5"].tolist() == pytest.approx(curve["map5_known"].tolist())
    curve = threshold_curve(labels, values, np.full(10, "new_whale"), even(10))
    assert list(curve) == ["threshold", "map5", "map5_unknown"]
    assert curve["map5"].iloc[-1] == pytest.approx(1)


def test_smoothing_is_a_weighted_mean():
    values = np.random.default_rng(0).random(201)
    expected = []
    for at in THRESHOLDS:
        weights = [np.exp(-(((at - other) / 0.044) ** 2) / 2) for other in THRESHOLDS]  # 0.44 / the cube root of 1000
        expected.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    np.testing.assert_allclose(smoothed(values, 1000), expected)


def curve(**at):
    """Return a curve that is 0.5 but in the ranges given."""
    values = np.full(201, 0.5)
    for value, first, last in at.values():
        values[first : last + 1] = value
    return pd.DataFrame({"threshold": THRESHOLDS, "map5": values})


def test_best_threshold_is_where_the_curve_is_high_all_around():
    assert best_threshold(curve(plain=(0.6, 80, 120)), 1000) == 0.5
    # one photo that chance put there does not move it
    assert best_threshold(curve(plain=(0.6, 80, 120), peak=(0.61, 160, 160)), 1000) == pytest.approx(0.5, abs=0.01)


def test_best_threshold_of_a_flat_curve_is_its_middle():
    assert best_threshold(curve(), 10) == 0.5
