"""The figures of a prediction, each worked out by hand from four answers."""

import numpy as np
import pandas as pd
import pytest

from whaleid.identification import figures
from whaleid.identification.map5 import Shares
from whaleid.identification.ranking import LABELS, PROBABILITIES

SHARES = Shares(0.3, 0.25)
ROWS = [
    # Image, role, whale, truth, threshold of the fold, probabilities of w_a and w_b, gain by centroids
    ("a.jpg", "known", "w_a", "w_a", 0.5, 0.6, 0.1, 1.0),
    ("b.jpg", "known", "w_b", "w_b", 0.7, 0.5, 0.4, 0.5),
    ("c.jpg", "unknown", "w_c", "new_whale", 0.7, 0.8, 0.0, 0.0),
    ("d.jpg", "duplicate", "w_a", "w_a", 0.5, 0.9, 0.0, 1.0),
]


def table():
    columns = ["Image", "role", "whale", "truth", "threshold", "probability1", "probability2", "centroid"]
    answers = pd.DataFrame(ROWS, columns=columns).assign(label1="w_a", label2="w_b", cluster=range(4))
    answers = answers.assign(uncalibrated=answers["probability1"])
    return answers.assign(**dict.fromkeys(LABELS[2:], ""), **dict.fromkeys(PROBABILITIES[2:], 0.0))


def by_duplicates():
    """w_a of d.jpg is certain, no other whale is."""
    return table().assign(probability1=[0.0, 0, 0, 1], probability2=0.0)


def test_figures_that_no_threshold_changes():
    result = figures.threshold_free(table(), by_duplicates(), 0.65, SHARES)
    weights = [0.75 * 0.7 / 2, 0.75 * 0.7 / 2, 0.75 * 0.3, 0.25]
    expected = {
        "baseline_new_whale": 0.75 * 0.3,
        "baseline_duplicates": 0.75 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3) + 0.25,
        "baseline_centroid": 0.75 * 0.7 * (1 + 0.5) / 2 + 0.25,
        "auroc": 0,
        "oscr": 0,
        "ece": weights[0] * 0.4 + weights[1] * 0.5 + weights[2] * 0.8 + weights[3] * 0.1,
        "map5_auto": 0.7 * (1 + 1 / 3) / 2 + 0.3 * 1 / 2,  # a first, b behind new_whale and w_a, c's new_whale second
        "threshold_auto_low": 0.5,
        "threshold_auto_high": 0.7,
    }
    # 0.5 and 0.6 are in bins of their own
    assert {key: result[key] for key in expected} == pytest.approx(expected)
    # of an answer that is right with its probability p, the error is 1 - p so often, and p otherwise
    chance = [2 * p * (1 - p) for p in (0.6, 0.5, 0.8, 0.9)]
    assert result["ece_chance"] == pytest.approx(np.dot(weights, chance), abs=0.005)
    with_interval = ["auroc", "tpr_at_fpr01", "tpr_at_fpr05", "oscr", "ece", "ece_uncalibrated"]
    assert [*result] == [
        *["baseline_new_whale", "baseline_duplicates", "baseline_centroid"],
        *[f"{key}{end}" for key in with_interval for end in ("", "_low", "_high")],
        *["ece_chance", "map5_auto", "threshold_auto_low", "threshold_auto_high"],
    ]
    assert figures.threshold_range(table(), 0.4) == {"threshold_auto_low": 0.4, "threshold_auto_high": 0.7}
    assert figures.threshold_range(table(), 0.8) == {"threshold_auto_low": 0.5, "threshold_auto_high": 0.8}


def test_a_prediction_without_probabilities_has_baselines_alone():
    result = figures.threshold_free(by_duplicates().drop(columns="centroid"), by_duplicates(), None, SHARES)
    assert [*result] == ["baseline_new_whale", "baseline_duplicates"]


def test_photos_labelled_new_whale_count_in_no_figure_of_probabilities():
    more = pd.concat([table(), table()[:1].assign(Image="n.jpg", role="new_whale", truth="new_whale", threshold=0.6)])
    assert figures.threshold_free(more, by_duplicates(), 0.65, SHARES) == pytest.approx(
        figures.threshold_free(table(), by_duplicates(), 0.65, SHARES)
    )


def test_figures_at_a_threshold():
    fixed = {"unknown_share": 0.3, "duplicate_share": 0.25, "threshold_auto": 0.65}
    at_auto = 0.7 * (1 + 1 / 3) / 2 + 0.3 / 2
    no_duplicates = {None: at_auto, 0.45: 0.7 * (1 + 1 / 3) / 2 + 0.3 / 2, 0.85: 0.7 * (1 / 2 + 1 / 3) / 2 + 0.3}
    for threshold, expected in no_duplicates.items():
        result = figures.evaluate(fixed, table(), threshold)
        assert result["threshold"] == (0.65 if threshold is None else threshold)
        assert result["map5_no_duplicates"] == pytest.approx(expected)
        assert result["map5"] == pytest.approx(0.75 * expected + 0.25)
        assert result["map5_low"] <= result["map5"] <= result["map5_high"]
        assert result["threshold_cost"] == pytest.approx(0.75 * (at_auto - expected), abs=1e-9)
    assert figures.evaluate(fixed, None) == fixed | {"threshold": 0.65}
    assert figures.evaluate(fixed, None, 0.2) == fixed | {"threshold": 0.2}


def test_without_probabilities_no_threshold_counts():
    fixed = {"unknown_share": 0.3, "duplicate_share": 0.25}
    answers = by_duplicates().drop(columns="threshold")
    result = figures.evaluate(fixed, answers, 0.2)
    assert result == figures.evaluate(fixed, answers)
    assert result["map5"] == pytest.approx(0.75 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3) + 0.25)
    assert not {"threshold", "threshold_cost"} & result.keys()
