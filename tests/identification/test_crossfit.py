"""Cross-fitting on simulated scores: answers do not depend on the labels of their fold, and are calibrated."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from whaleid.identification import figures, fusion, metrics
from whaleid.identification.calibration import Calibration
from whaleid.identification.crossfit import ScoredQueries, cross_fit, round_significant
from whaleid.identification.map5 import Shares
from whaleid.identification.ranking import at_threshold, from_table
from whaleid.identification.threshold import THRESHOLDS, best_threshold

NAMES = ["class", "nearest"]


def simulate(queries=400, whales=20):
    """Simulate queries, three in four of known whales, whose true whale has a higher score."""
    generator = np.random.default_rng(0)
    known = generator.random(queries) < 0.75
    labels = np.array([f"w_{number:02}" for number in range(whales)])
    column = generator.integers(0, whales, queries)
    table = np.zeros((2, queries, whales + 1), dtype=np.float32)
    table[:, :, :-1] = generator.normal(0, 0.15, (2, queries, whales))
    table[:, known, column[known]] += generator.uniform(0, 0.8, (2, known.sum()))
    rows = pd.DataFrame(
        {
            "Image": [f"{number:04}.jpg" for number in range(queries)],
            "whale": labels[column],
            "truth": np.where(known, labels[column], "new_whale"),
            "role": np.where(known, "known", "unknown"),
            "fold": np.arange(queries) % 5,
            "cluster": np.arange(queries),
        }
    )
    return ScoredQueries(rows, labels, dict(zip(NAMES, table, strict=True)), Shares(0.3, 0.0))


@pytest.fixture(scope="module")
def scored():
    return simulate()


@pytest.fixture(scope="module")
def fitted(scored):
    return cross_fit(NAMES, scored)


def test_all_queries_but_one_are_duplicates(scored):
    queries = scored.queries.assign(role="duplicate", truth=scored.queries["whale"])
    queries.loc[7, "role"] = "known"
    assert cross_fit(NAMES, replace(scored, queries=queries)).decision.threshold_auto in THRESHOLDS


def test_answers_to_a_fold_do_not_depend_on_its_labels(scored, fitted):
    rows = (scored.queries["fold"] == 3).to_numpy()
    wrong = scored.queries.copy()
    wrong.loc[rows, "truth"] = np.where(wrong.loc[rows, "role"] == "known", "w_00", "new_whale")
    refitted = cross_fit(NAMES, replace(scored, queries=wrong))
    (labels, values), (expected_labels, expected) = from_table(refitted.answers), from_table(fitted.answers)
    assert labels[rows].tolist() == expected_labels[rows].tolist()
    # the search starts from weights fitted on all labels, so the results are equal only within its tolerance
    np.testing.assert_allclose(values[rows], expected[rows], atol=2e-3)
    thresholds = [fit.answers.loc[rows, "threshold"].unique() for fit in (refitted, fitted)]
    assert thresholds[0] == pytest.approx(thresholds[1], abs=0.005)
    assert abs(values[~rows] - expected[~rows]).max() > 0.01
    assert refitted.decision != fitted.decision


def test_a_fold_is_answered_by_a_decision_fitted_on_the_other_folds(scored, fitted):
    for fold in (0, 4):
        rows = (scored.queries["fold"] == fold).to_numpy()
        scores = {name: table[~rows] for name, table in scored.scores.items()}
        train_set = replace(scored, queries=scored.queries[~rows].reset_index(drop=True), scores=scores)
        decision = cross_fit(NAMES, train_set).decision
        held_out = [table[rows] for table in scored.scores.values()]
        raw = fusion.predict(decision, held_out, scored.whales)
        top = decision.calibration.transform(raw)
        answers = fitted.answers[rows]
        labels, values = from_table(answers)
        assert top.labels.tolist() == labels.tolist()
        np.testing.assert_allclose(top.probabilities, values, atol=2e-3)
        np.testing.assert_allclose(raw.probabilities[:, 0], answers["uncalibrated"], atol=2e-3)


def test_the_fit_on_all_queries(scored, fitted):
    decision = fitted.decision
    assert decision.weights == pytest.approx({"class": 9.222, "nearest": 10.590}, abs=0.01)
    assert decision.bias == pytest.approx(5.126, abs=0.01)
    assert decision.calibration.slope == pytest.approx(1.2946, abs=0.005)
    assert decision.calibration.intercept == pytest.approx(0.1555, abs=0.005)
    assert decision.threshold_auto == pytest.approx(0.415, abs=0.006)
    assert fitted.answers.groupby("fold")["threshold"].unique().explode().tolist() == pytest.approx(
        [0.44, 0.345, 0.455, 0.4, 0.365], abs=0.006
    )
    assert [*fitted.answers] == [
        *["Image", "whale", "role", "truth", "fold", "cluster", "threshold"],
        *[f"{kind}{rank}" for kind in ("label", "probability") for rank in range(1, 6)],
        "uncalibrated",
    ]


def test_probabilities_are_calibrated_on_held_out_folds():
    scored = simulate(2000)
    fitted = cross_fit(NAMES, scored)
    once = np.ones((1, 2000))
    assert metrics.probability_metrics(fitted.answers, once, scored.shares)["ece"][0] < 0.03
    auto = figures.map5_by_kind(at_threshold(fitted.answers), scored.shares)["map5_no_duplicates"]
    assert 0 <= fitted.curve["map5"].max() - auto < 0.005


def test_duplicates_affect_the_weights_but_not_the_curve(scored, fitted):
    rows = np.arange(400) < 50
    roles = scored.queries["role"].mask(rows, "duplicate")
    queries = scored.queries.assign(role=roles, truth=scored.queries["whale"])
    queries["truth"] = queries["truth"].mask(roles == "unknown", "new_whale")
    result = cross_fit(NAMES, replace(scored, queries=queries, shares=Shares(0.3, 0.5)))
    assert result.decision.weights != fitted.decision.weights
    answers = at_threshold(result.answers, 0.2)
    means = figures.map5_by_kind(answers, Shares(0.3, 0.5))
    assert result.curve["map5"][40] == pytest.approx(means["map5_no_duplicates"])


def test_smoothing_depends_on_the_number_of_queries_in_the_curve(scored):
    roles = scored.queries["role"].mask(scored.queries.index >= 60, "duplicate")
    truth = scored.queries["truth"].mask(roles == "duplicate", scored.queries["whale"])
    queries = scored.queries.assign(role=roles, truth=truth)
    fit = cross_fit(NAMES, replace(scored, queries=queries, shares=Shares(0.3, 0.1)))
    # smoothed for the 45 known queries alone, the best threshold would be higher; for all 400 queries, lower
    assert fit.decision.threshold_auto == best_threshold(fit.curve, 60)
    assert best_threshold(fit.curve, 400) < fit.decision.threshold_auto < best_threshold(fit.curve, 45)


def test_new_whale_photos_have_the_curve_of_unknown_queries_if_no_whale_is_held_out(scored, fitted):
    roles = scored.queries["role"].replace("unknown", "new_whale")
    result = cross_fit(NAMES, replace(scored, queries=scored.queries.assign(role=roles)))
    pd.testing.assert_frame_equal(result.curve, fitted.curve)


def test_queries_without_weight_do_not_affect_the_calibration():
    scored = simulate(60)
    roles = scored.queries["role"].mask(scored.queries.index < 11, "new_whale_train")
    assert cross_fit(NAMES, scored).decision.calibration != Calibration()
    assert (
        cross_fit(NAMES, replace(scored, queries=scored.queries.assign(role=roles))).decision.calibration
        == Calibration()
    )


def test_a_subset_of_scores_is_fitted_independently_of_the_others(scored):
    alone = cross_fit(["nearest"], scored).decision
    assert [*alone.weights] == ["nearest"]
    assert alone == cross_fit(["nearest"], replace(scored, scores={"nearest": scored.scores["nearest"]})).decision


def test_values_are_rounded_to_six_significant_digits():
    values = np.random.default_rng(0).random(1000) ** 3
    assert round_significant(values).tolist() == [float(f"{value:.6g}") for value in values]
    assert round_significant(np.array([0.0, 1.0, 1e-14])).tolist() == [0, 1, 1e-14]
