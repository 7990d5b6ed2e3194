"""Cross-fitting on drawn scores: nothing that answers a fold has its labels, and probabilities come true."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from whaleid.core.features import Features
from whaleid.identification import decision, metrics
from whaleid.identification.crossfit import ScoredQueries, calibrate, cross_fit, rounded
from whaleid.identification.ranking import at_threshold, from_table
from whaleid.identification.validation import Shares

NAMES = ["class", "nearest"]


def drawn(queries=600, whales=40, seed=0):
    """Return queries of which three in four are of known whales, whose scores are higher for their own."""
    generator = np.random.default_rng(seed)
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


def test_answers_to_a_fold_do_not_depend_on_its_labels():
    scored = drawn()
    fitted = cross_fit(NAMES, scored)
    of = (scored.queries["fold"] == 3).to_numpy()
    wrong = scored.queries.copy()
    wrong.loc[of, "truth"] = np.where(wrong.loc[of, "role"] == "known", "w_00", "new_whale")
    again = cross_fit(NAMES, replace(scored, queries=wrong))
    (labels, values), (expected_labels, expected) = from_table(again.answers), from_table(fitted.answers)
    assert labels[of].tolist() == expected_labels[of].tolist()
    # the search begins at weights that were fitted with them, and ends within some digits of the same weights
    np.testing.assert_allclose(values[of], expected[of], atol=2e-3)
    assert again.thresholds[3] == pytest.approx(fitted.thresholds[3], abs=0.005)
    assert abs(values[~of] - expected[~of]).max() > 0.01
    assert again.decision != fitted.decision


def test_the_answers_are_those_of_the_decision_without_their_fold():
    scored = drawn(400)
    answers = cross_fit(NAMES, scored).answers
    for fold in range(5):
        of = (scored.queries["fold"] == fold).to_numpy()
        rows = scored.queries[~of].reset_index(drop=True)
        scores = {name: each[~of] for name, each in scored.scores.items()}
        others = cross_fit(NAMES, replace(scored, queries=rows, scores=scores)).decision
        top = others.predict([each[of] for each in scored.scores.values()], scored.whales)
        labels, values = from_table(answers[of])
        assert top.labels.tolist() == labels.tolist()
        np.testing.assert_allclose(top.values, values, atol=2e-3)


def test_calibrated_probabilities_come_true_on_folds_they_were_not_fitted_on():
    scored = drawn(4000)
    fitted = cross_fit(NAMES, scored)
    once = np.ones((1, 4000))
    assert metrics.probability_metrics(fitted.answers, once, scored.shares)["ece"][0] < 0.03
    reached = at_threshold(fitted.answers, fitted.answers["threshold"].to_numpy())
    auto = metrics.map5(reached["role"], reached["rank"].to_numpy(), scored.shares)
    assert fitted.curve["map5"].max() - auto < 0.005
    assert set(fitted.answers["threshold"]) == set(fitted.thresholds)


def test_a_decision_is_read_as_it_was_written():
    whole = cross_fit(NAMES, drawn()).decision
    assert decision.from_json(json.dumps(asdict(whole)).encode()) == whole


def test_the_curve_of_new_whale_photos_that_stand_in_is_theirs():
    scored = drawn(200)
    roles = scored.queries["role"].replace("unknown", "new_whale")
    stand_in = cross_fit(NAMES, replace(scored, queries=scored.queries.assign(role=roles)))
    pd.testing.assert_frame_equal(stand_in.curve, cross_fit(NAMES, scored).curve)


def test_some_of_the_scores_are_weighted_as_if_there_were_no_others():
    scored = drawn()
    alone = cross_fit(["nearest"], scored).decision
    assert [*alone.weights] == ["nearest"]
    assert alone == cross_fit(["nearest"], replace(scored, scores={"nearest": scored.scores["nearest"]})).decision


def test_values_are_rounded_as_files_keep_them():
    values = np.random.default_rng(0).random(1000) ** 3
    assert rounded(values).tolist() == [float(f"{value:.6g}") for value in values]
    assert rounded(np.array([0.0, 1.0])).tolist() == [0, 1]


def allocate(count, shape):
    return [np.empty(shape, dtype=np.float32) for _ in range(count)]


def test_the_number_of_threads_changes_no_byte():
    generator = np.random.default_rng(0)
    photos, held_out = 1500, 300
    labels = [f"w_{number % 1000:04}" for number in range(photos)]
    images = [f"{number:04}.jpg" for number in range(photos)]
    centres = generator.normal(size=(1000, 16))
    embeddings = centres[np.arange(photos) % 1000] + generator.normal(size=(photos, 16))
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    part = np.where(np.arange(photos) < held_out, "validation", "train")
    role = np.where(np.arange(photos) < held_out, np.where(np.arange(photos) % 4 == 0, "unknown", "known"), "catalogue")
    split = pd.DataFrame({"Image": images, "Id": labels, "part": part, "role": role})
    groups = pd.DataFrame(columns=["group", "Image", "part", "Id"])
    rows = {image: row for row, image in enumerate(images)}
    features = {"margin": Features(rows, embeddings[None], embeddings[None, -9:, None], np.array(labels[-9:]))}

    def fitted(threads):
        with threadpool_limits(threads):
            return calibrate(features, {"margin": ["nearest", "centroid"]}, split, groups, Shares(0.3, 0.0), allocate)

    (one, compared), (four, compared_by_four) = fitted(1), fitted(4)
    assert one.decision == four.decision
    pd.testing.assert_frame_equal(one.answers, four.answers, check_exact=True)
    assert compared == compared_by_four
