"""Calibration of one or several networks on random embeddings: the fitted decision, its tables and its metrics."""

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from whaleid.core.calibration_files import Inputs
from whaleid.core.features import Features
from whaleid.identification.calibrated import calibrate

WHALES, PHOTOS, HELD_OUT = 200, 600, 120


def make_inputs(networks, unknown="unknown"):
    """Return random photos of whales, some of them held out, and their features by each network."""
    generator = np.random.default_rng(0)
    number = np.arange(PHOTOS)
    labels = np.array([f"w_{photo % WHALES:03}" for photo in range(PHOTOS)])
    images = [f"{photo:04}.jpg" for photo in range(PHOTOS)]
    centres = generator.normal(size=(WHALES, 16))
    features = {}
    for name in networks:
        embeddings = centres[number % WHALES] + generator.normal(size=(PHOTOS, 16))
        embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
        rows = {image: row for row, image in enumerate(images)}
        features[name] = Features(rows, embeddings[None], embeddings[None, -9:, None], labels[-9:])
    role = np.where(number < HELD_OUT, np.where(number % 4 == 0, unknown, "known"), "catalogue")
    if unknown == "new_whale":
        labels[role == unknown] = "new_whale"
    part = np.where(number < HELD_OUT, "validation", "train")
    split = pd.DataFrame({"Image": images, "Id": labels, "part": part, "role": role})
    groups = pd.DataFrame(columns=["group", "Image", "part", "Id"])
    leaks = pd.DataFrame({"query": ["t.jpg"]})
    return Inputs(features, split, groups, leaks, pd.DataFrame({"part": ["test"] * 4}))


def allocate(count, shape):
    return [np.empty(shape, dtype=np.float32) for _ in range(count)]


def run_calibrate(inputs, *scores, threads=1):
    with threadpool_limits(threads):
        return calibrate("margin", inputs, dict.fromkeys(inputs.features, scores), 0.3, allocate)


def test_outputs_of_a_calibration():
    result = run_calibrate(make_inputs(["margin"]), "nearest", "centroid", "duplicates")
    assert result.params == {"variant": "margin", "unknown_share": 0.3, "scores": "nearest centroid duplicates"}
    assert result.scores["score"].tolist() == ["nearest", "centroid", "without_duplicates", "all"]
    assert [*result.scores] == ["score", "map5", "map5_no_duplicates", "map5_known"]
    assert result.validation["cluster"].tolist() == [*range(HELD_OUT)]  # every query shows a different whale
    assert result.validation["fold"].value_counts().tolist() == [24] * 5
    assert [*result.curve] == ["threshold", "map5", "map5_known", "map5_unknown"]
    weights, metrics = result.decision["weights"], result.metrics
    assert [*result.decision] == ["weights", "bias", "calibration", "threshold_auto", "thresholds"]
    assert result.decision["thresholds"] == result.validation.groupby("fold")["threshold"].first().tolist()
    assert {name: metrics[f"weight_{name}"] for name in weights} == weights
    assert weights == pytest.approx({"nearest": 0, "centroid": 12.78, "duplicates": 1.019}, abs=0.01)
    assert metrics["bias"] == result.decision["bias"]
    assert {key: metrics[f"calibration_{key}"] for key in ("slope", "intercept")} == result.decision["calibration"]
    assert metrics["threshold_auto_low"] <= metrics["threshold_auto"] <= metrics["threshold_auto_high"]
    assert metrics["map5_auto"] == metrics["map5_no_duplicates_all"] == result.scores["map5_no_duplicates"].iloc[-1]
    assert result.summary == (
        f"calibrate margin: weights nearest {weights['nearest']:g}, centroid {weights['centroid']:g}, duplicates "
        f"{weights['duplicates']:g}; new_whale bias {metrics['bias']:g}; calibration slope "
        f"{metrics['calibration_slope']:g}, intercept {metrics['calibration_intercept']:g}; threshold "
        f"{metrics['threshold_auto']:g} ({metrics['threshold_auto_low']:g} to {metrics['threshold_auto_high']:g} over "
        f"folds); MAP@5 {metrics['map5_auto']:.4f} on 120 validation photos, duplicates excluded"
    )


@pytest.mark.parametrize("networks", [["margin"], ["a", "b"]])
def test_reciprocal_rank_of_the_truth_by_centroids_alone(networks):
    inputs = make_inputs(networks)
    centroid = run_calibrate(inputs, "nearest").validation["centroid"].tolist()
    whale = np.arange(PHOTOS) % WHALES
    cosines = np.zeros((HELD_OUT, WHALES))
    for features in inputs.features.values():
        embeddings = features.embeddings[0].astype(np.float64)
        means = np.array([embeddings[HELD_OUT:][whale[HELD_OUT:] == w].sum(axis=0) for w in range(WHALES)])
        cosines += embeddings[:HELD_OUT] @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    for query in range(HELD_OUT):
        rank = 1 + (cosines[query] > cosines[query, query]).sum()  # query i shows whale i
        expected = 1 / rank if rank <= 5 and query % 4 else 0  # every fourth query is unknown: its truth is new_whale
        assert centroid[query] == expected


def test_scoring_in_blocks_does_not_change_the_answers(monkeypatch):
    inputs = make_inputs(["margin"])
    one_block = run_calibrate(inputs, "nearest")
    monkeypatch.setattr("whaleid.identification.scores.MAX_QUERIES", 50)
    blocks = run_calibrate(inputs, "nearest")
    pd.testing.assert_frame_equal(blocks.validation, one_block.validation, rtol=1e-3)


def test_new_whale_photos_count_as_unknown_if_no_whale_is_held_out():
    summary = run_calibrate(make_inputs(["margin"], unknown="new_whale"), "nearest").summary
    assert summary.endswith(
        "on 120 validation photos, duplicates excluded; no whale is held out, so photos labelled new_whale stand for "
        "unknown whales"
    )


@pytest.mark.parametrize("role", ["known", "unknown"])
def test_new_whale_photos_do_not_count_as_unknown_otherwise(role):
    inputs = make_inputs(["margin"], unknown=role)
    assert run_calibrate(inputs, "nearest").summary.endswith("on 120 validation photos, duplicates excluded")
    inputs.split.loc[:9, ["Id", "role"]] = "new_whale"
    if role == "unknown":  # whales are held out, so photos labelled new_whale have no weight
        assert run_calibrate(inputs, "nearest").summary.endswith("on 110 validation photos, duplicates excluded")


def test_a_network_has_the_same_result_in_an_ensemble_as_alone():
    ensemble, alone = (run_calibrate(make_inputs(networks), "nearest") for networks in ("ab", "a"))
    assert ensemble.scores.loc[0].tolist() == ["a", *alone.scores.loc[0].tolist()[1:]]


def test_a_score_has_the_same_result_with_others_as_alone():
    pair, alone = (
        run_calibrate(make_inputs(["margin"]), "nearest", "centroid"),
        run_calibrate(make_inputs(["margin"]), "nearest"),
    )
    assert pair.scores.loc[0].tolist() == alone.scores.loc[0].tolist()


@pytest.mark.parametrize(
    ("networks", "scores", "compared"),
    [
        ("a", ["class"], ["class"]),
        ("a", ["duplicates"], ["duplicates"]),
        ("a", ["nearest", "centroid"], ["nearest", "centroid", "all"]),
        ("a", ["duplicates", "nearest"], ["nearest", "all"]),
        ("ab", ["nearest"], ["a", "b", "all"]),
        ("ab", ["nearest", "duplicates"], ["a", "b", "without_duplicates", "all"]),
        ("ab", ["duplicates"], ["duplicates"]),
    ],
)
def test_all_scores_are_compared_with_some_of_them(networks, scores, compared):
    assert run_calibrate(make_inputs(networks), *scores).scores["score"].tolist() == compared


def test_the_number_of_threads_does_not_change_the_result():
    one, four = (run_calibrate(make_inputs(["margin"]), "nearest", "centroid", threads=threads) for threads in (1, 4))
    assert one.decision == four.decision
    assert one.metrics == four.metrics
    pd.testing.assert_frame_equal(one.validation, four.validation, check_exact=True)
