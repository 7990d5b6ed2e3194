"""The figures of a prediction, computed by hand for four answers."""

import numpy as np
import pandas as pd
import pytest

from whaleid.identification import figures
from whaleid.identification.map5 import Shares
from whaleid.identification.ranking import LABELS, PROBABILITIES

SHARES = Shares(0.3, 0.25)
ROWS = [
    # Image, role, whale, truth, threshold of the fold, probabilities of w_a and w_b, reciprocal rank by centroids
    ("a.jpg", "known", "w_a", "w_a", 0.5, 0.6, 0.1, 1.0),
    ("b.jpg", "known", "w_b", "w_b", 0.7, 0.5, 0.4, 0.5),
    ("c.jpg", "unknown", "w_c", "new_whale", 0.7, 0.8, 0.0, 0.0),
    ("d.jpg", "duplicate", "w_a", "w_a", 0.5, 0.9, 0.0, 1.0),
]


def make_answers():
    columns = ["Image", "role", "whale", "truth", "threshold", "probability1", "probability2", "centroid"]
    answers = pd.DataFrame(ROWS, columns=columns).assign(label1="w_a", label2="w_b", cluster=range(4))
    answers = answers.assign(uncalibrated=answers["probability1"])
    return answers.assign(**dict.fromkeys(LABELS[2:], ""), **dict.fromkeys(PROBABILITIES[2:], 0.0))


def make_duplicate_answers():
    """Answers from duplicates: d.jpg is w_a with probability 1; all other probabilities are 0."""
    return make_answers().assign(probability1=[0.0, 0, 0, 1], probability2=0.0)


def test_threshold_free_figures():
    result = figures.threshold_free(make_answers(), make_duplicate_answers(), 0.65, SHARES)
    weights = [0.75 * 0.7 / 2, 0.75 * 0.7 / 2, 0.75 * 0.3, 0.25]
    expected = {
        "baseline_new_whale": 0.75 * 0.3,
        "baseline_duplicates": 0.75 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3) + 0.25,
        "baseline_centroid": 0.75 * 0.7 * (1 + 0.5) / 2 + 0.25,
        "auroc": 0,
        "oscr": 0,
        "ece": weights[0] * 0.4 + weights[1] * 0.5 + weights[2] * 0.8 + weights[3] * 0.1,
        "map5_auto": 0.7 * (1 + 1 / 3) / 2 + 0.3 * 1 / 2,  # ranks of the truth: a 1, b 3 (after new_whale and w_a), c 2
        "threshold_auto_low": 0.5,
        "threshold_auto_high": 0.7,
    }
    # every probability is in a different bin
    assert {key: result[key] for key in expected} == pytest.approx(expected)
    # an answer that is correct with probability p has the error 1 - p with probability p, else p
    chance = [2 * p * (1 - p) for p in (0.6, 0.5, 0.8, 0.9)]
    assert result["ece_chance"] == pytest.approx(np.dot(weights, chance), abs=0.005)
    with_interval = ["auroc", "tpr_at_fpr01", "tpr_at_fpr05", "oscr", "ece", "ece_uncalibrated"]
    assert [*result] == [
        *["baseline_new_whale", "baseline_duplicates", "baseline_centroid"],
        *[f"{key}{end}" for key in with_interval for end in ("", "_low", "_high")],
        *["ece_chance", "map5_auto", "threshold_auto_low", "threshold_auto_high"],
    ]
    assert figures.threshold_range(make_answers(), 0.4) == {"threshold_auto_low": 0.4, "threshold_auto_high": 0.7}
    assert figures.threshold_range(make_answers(), 0.8) == {"threshold_auto_low": 0.5, "threshold_auto_high": 0.8}


def test_a_prediction_without_probabilities_has_only_baselines():
    result = figures.threshold_free(
        make_duplicate_answers().drop(columns="centroid"), make_duplicate_answers(), None, SHARES
    )
    assert [*result] == ["baseline_new_whale", "baseline_duplicates"]


def test_photos_labelled_new_whale_do_not_affect_figures_of_probabilities():
    more = pd.concat(
        [make_answers(), make_answers()[:1].assign(Image="n.jpg", role="new_whale", truth="new_whale", threshold=0.6)]
    )
    assert figures.threshold_free(more, make_duplicate_answers(), 0.65, SHARES) == pytest.approx(
        figures.threshold_free(make_answers(), make_duplicate_answers(), 0.65, SHARES)
    )


def test_figures_at_a_threshold():
    fixed = {"unknown_share": 0.3, "duplicate_share": 0.25, "threshold_auto": 0.65}
    at_auto = 0.7 * (1 + 1 / 3) / 2 + 0.3 / 2
    no_duplicates = {None: at_auto, 0.45: 0.7 * (1 + 1 / 3) / 2 + 0.3 / 2, 0.85: 0.7 * (1 / 2 + 1 / 3) / 2 + 0.3}
    for threshold, expected in no_duplicates.items():
        result = figures.evaluate(fixed, make_answers(), threshold)
        assert result["threshold"] == (0.65 if threshold is None else threshold)
        assert result["map5_no_duplicates"] == pytest.approx(expected)
        assert result["map5"] == pytest.approx(0.75 * expected + 0.25)
        assert result["map5_low"] <= result["map5"] <= result["map5_high"]
        assert result["threshold_cost"] == pytest.approx(0.75 * (at_auto - expected), abs=1e-9)
    assert figures.evaluate(fixed, None) == fixed | {"threshold": 0.65}
    assert figures.evaluate(fixed, None, 0.2) == fixed | {"threshold": 0.2}


def test_without_probabilities_the_threshold_is_ignored():
    fixed = {"unknown_share": 0.3, "duplicate_share": 0.25}
    answers = make_duplicate_answers().drop(columns="threshold")
    result = figures.evaluate(fixed, answers, 0.2)
    assert result == figures.evaluate(fixed, answers)
    assert result["map5"] == pytest.approx(0.75 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3) + 0.25)
    assert not {"threshold", "threshold_cost"} & result.keys()
