"""The threshold curve, compared with ranking at each threshold, and the best threshold of a curve."""

import numpy as np
import pandas as pd
import pytest

from whaleid.identification.map5 import Shares, map5
from whaleid.identification.ranking import rank, top_k
from whaleid.identification.threshold import THRESHOLDS, best_threshold, smooth, threshold_curve

SHARES = Shares(0.3, 0.2)


def random_top_k(queries, whales):
    """Return the best whales of random queries with many ties."""
    values = np.random.default_rng(2).integers(0, 12, (queries, whales)) / 20
    return top_k(values.astype(np.float32), np.array([f"w_{number}" for number in range(whales)]))


def test_curve_agrees_with_ranking_at_each_threshold():
    labels, values = random_top_k(60, 8)
    # some true whales are not candidates, as for a variant that is trained on a part of the whales
    truth = np.random.default_rng(3).choice(["new_whale", "w_0", "w_1", "w_2", "w_3", "w_other"], 60)
    kind = np.where(truth == "new_whale", "unknown", "known")
    kind[:10], kind[10:15] = "duplicate", ""  # these are excluded of the curve
    curve = threshold_curve(labels, values, truth, kind, SHARES)
    assert curve["threshold"].tolist() == [step / 200 for step in range(201)]
    for row in curve[::10].itertuples():
        ranked = rank(labels, values, row.threshold)[0].tolist()
        ranks = [row.index(true) + 1 if true in row else 0 for row, true in zip(ranked, truth, strict=True)]
        means = map5(np.array(ranks), kind, SHARES)
        assert row.map5 == pytest.approx(means["map5_no_duplicates"])
        assert row.map5_known == pytest.approx(means["map5_known"])
        assert row.map5_unknown == pytest.approx(means["map5_unknown"])


def test_curve_has_no_column_for_a_kind_without_queries():
    labels, values = random_top_k(10, 6)
    curve = threshold_curve(labels, values, np.full(10, "w_1"), np.full(10, "known"), SHARES)
    assert list(curve) == ["threshold", "map5", "map5_known"]
    assert curve["map5"].tolist() == curve["map5_known"].tolist()
    curve = threshold_curve(labels, values, np.full(10, "new_whale"), np.full(10, "unknown"), SHARES)
    assert list(curve) == ["threshold", "map5", "map5_unknown"]
    assert curve["map5"].iloc[-1] == pytest.approx(1)


def test_smoothing_is_a_weighted_mean():
    values = np.random.default_rng(0).random(201)
    for queries, deviation in ((1000, 0.044), (1, 0.44), (0, 0.44)):  # 0.44 / the cube root of 1000
        expected = []
        for centre in THRESHOLDS:
            weights = [np.exp(-(((threshold - centre) / deviation) ** 2) / 2) for threshold in THRESHOLDS]
            expected.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
        np.testing.assert_allclose(smooth(values, queries), expected)


def curve(**ranges):
    """Return a curve that is 0.5 outside `ranges`, which are (value, first step, last step)."""
    values = np.full(201, 0.5)
    for value, first, last in ranges.values():
        values[first : last + 1] = value
    return pd.DataFrame({"threshold": THRESHOLDS, "map5": values})


def test_best_threshold_maximises_the_smoothed_curve():
    assert best_threshold(curve(plateau=(0.6, 80, 120)), 1000) == 0.5
    assert best_threshold(curve(plateau=(0.6, 20, 50)), 1000) == pytest.approx(0.175, abs=0.005)
    # a narrow peak, as chance produces it, does not move the maximum
    assert best_threshold(curve(plateau=(0.6, 80, 120), peak=(0.61, 160, 160)), 1000) == pytest.approx(0.5, abs=0.01)


def test_best_threshold_of_a_flat_curve_is_its_middle():
    assert best_threshold(curve(), 10) == 0.5


def test_the_middle_one_of_several_maxima_is_chosen():
    # with this many queries, the curve is not smoothed
    assert best_threshold(curve(odd=(0.6, 20, 40)), 10**9) == 0.15
    assert best_threshold(curve(even=(0.6, 20, 41)), 10**9) == 0.15
    assert best_threshold(curve(first=(0.6, 20, 40), second=(0.6, 100, 110)), 10**9) == 0.175
    assert best_threshold(curve(begin=(0.6, 0, 10)), 10**9) == 0.025
    assert best_threshold(curve(end=(0.6, 190, 200)), 10**9) == 0.975
    assert best_threshold(curve(equal=(0.6, 20, 40), rounding=(0.6 + 1e-13, 35, 35)), 10**9) == 0.15
    assert best_threshold(curve(lower=(0.6, 20, 40), higher=(0.6 + 1e-11, 35, 35)), 10**9) == 0.175
