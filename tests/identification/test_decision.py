"""Decisions: their JSON, and their answers to queries with one network and with several."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from whaleid.core.features import Features
from whaleid.identification.calibration import Calibration
from whaleid.identification.decision import Decision, from_json
from whaleid.identification.ranking import LABELS, PROBABILITIES
from whaleid.identification.scores import Scorer

WHALES = ["w_1", "w_2", "w_3"]
GALLERY = pd.DataFrame({"Image": ["1.jpg", "2.jpg", "3.jpg"], "Id": WHALES})
EXPECTED = np.array([[0.1, 0.3, 0.6], [0.5, 0.2, 0.3]])
"""Probabilities of `WHALES` for two queries."""


def network():
    """Return features for which the class scores of an embedding are its components, one per whale."""
    rows = {image: row for row, image in enumerate(GALLERY["Image"])}
    centres = np.eye(3, dtype=np.float32)[None, :, None]
    return Features(rows, np.eye(3, dtype=np.float32)[None], centres, np.array(WHALES))


def answer(decision, embeddings, duplicates=((), ()), fill=()):
    networks = {name: network() for name in embeddings}
    embeddings = {name: array.astype(np.float32)[None] for name, array in embeddings.items()}
    return decision.answers(Scorer(networks, GALLERY), embeddings, duplicates, fill)


def test_a_decision_is_read_as_written():
    expected = Decision({"class": 2.0}, 1.0, Calibration(0.5, 0.1), 0.3)
    content = {"weights": {"class": 2.0}, "bias": 1.0, "calibration": {"slope": 0.5, "intercept": 0.1}}
    assert asdict(expected) == content | {"threshold_auto": 0.3}
    assert from_json(json.dumps(asdict(expected) | {"thresholds": [0.1]}).encode()) == expected


def test_answers_are_the_softmax_of_class_scores():
    table = answer(Decision({"class": 1.0}, -99.0, Calibration(), 0.3), {"toy": np.log(EXPECTED)}, fill=["w_9", "w_2"])
    assert table[LABELS].to_numpy().tolist() == [["w_3", "w_2", "w_1", "w_9", ""], ["w_1", "w_3", "w_2", "w_9", ""]]
    expected = [[0.6, 0.3, 0.1, 0, 0], [0.5, 0.3, 0.2, 0, 0]]
    np.testing.assert_allclose(table[PROBABILITIES], expected, rtol=1e-5)


def test_answers_are_calibrated_and_use_duplicates():
    weights = {"class": 1.0, "duplicates": float(np.log(9))}
    table = answer(Decision(weights, -99.0, Calibration(0.5, 0), 0.3), {"toy": np.log(EXPECTED)}, [["w_2"], []])
    assert table["label1"].tolist() == ["w_2", "w_1"]
    # the odds 0.27 to 0.07 become their square root; even odds do not change
    best = (2.7 / 0.7) ** 0.5
    np.testing.assert_allclose(table["probability1"], [best / (1 + best), 0.5], rtol=1e-5)


@pytest.mark.parametrize("networks", [["toy", "margin"], ["toy", "threshold", "margin"]])
def test_an_ensemble_weights_the_scores_of_all_its_networks(networks):
    # the product of the roots of the probabilities is the probabilities
    roots = np.log(EXPECTED) / len(networks)
    weights = {f"{name}_class": 1.0 for name in networks[::-1]}
    table = answer(Decision(weights, -99.0, Calibration(), 0.3), dict.fromkeys(networks, roots))
    np.testing.assert_allclose(table[PROBABILITIES[:3]], [[0.6, 0.3, 0.1], [0.5, 0.3, 0.2]], rtol=1e-5)
    # a weight of 0 leaves a network out
    weights = {"toy_class": 1.0, "margin_class": 0.0}
    logits = {"toy": np.log(EXPECTED), "margin": np.log(EXPECTED[::-1])}
    table = answer(Decision(weights, -99.0, Calibration(), 0.3), logits)
    assert table["label1"].tolist() == ["w_3", "w_1"]


def test_no_queries_give_an_empty_table():
    table = answer(Decision({"class": 1.0}, 0.0, Calibration(), 0.3), {"toy": np.empty((0, 3))}, [])
    assert table.shape == (0, 10)


def test_answers_do_not_depend_on_the_block_size(monkeypatch):
    decision, embeddings = Decision({"class": 1.0}, -99.0, Calibration(), 0.3), {"toy": np.log(EXPECTED)}
    one_block = answer(decision, embeddings)
    monkeypatch.setattr("whaleid.identification.scores.MAX_QUERIES", 1)
    pd.testing.assert_frame_equal(answer(decision, embeddings), one_block)
