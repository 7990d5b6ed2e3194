"""Cross-fitting on drawn scores: nothing that answers a part has seen its labels, and probabilities come true."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from whaleid.identification import crossfit, decision, measures
from whaleid.identification.answers import decided, wide
from whaleid.identification.crossfit import rounded

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
    asked = pd.DataFrame(
        {
            "Image": [f"{number:04}.jpg" for number in range(queries)],
            "whale": labels[column],
            "truth": np.where(known, labels[column], "new_whale"),
            "role": np.where(known, "known", "unknown"),
        }
    )
    part = np.arange(queries) % 5
    return crossfit.Queries(asked, part, labels, table, generator.normal(0.3, 0.1, queries), 0.3, 0.0)


def test_answers_to_a_part_do_not_depend_on_its_labels():
    queries = drawn()
    fitted = crossfit.fit(NAMES, queries)
    of = queries.part == 3
    wrong = queries.asked.copy()
    wrong.loc[of, "truth"] = np.where(wrong.loc[of, "role"] == "known", "w_00", "new_whale")
    again = crossfit.fit(NAMES, replace(queries, asked=wrong))
    assert again.labels[of].tolist() == fitted.labels[of].tolist()
    # where the search begins is found with them, and it ends within some digits of the same weights
    np.testing.assert_allclose(again.values[of], fitted.values[of], atol=1e-4)
    assert again.thresholds[3] == pytest.approx(fitted.thresholds[3], abs=0.005)
    assert abs(again.values[~of] - fitted.values[~of]).max() > 0.01
    assert again.whole != fitted.whole


def test_the_answers_are_those_of_the_decision_without_their_part():
    queries = drawn(300)
    fitted = crossfit.fit(NAMES, queries, ["none"])
    for part in range(5):
        of = queries.part == part
        alone = replace(queries, asked=queries.asked[~of].reset_index(drop=True), part=queries.part[~of])
        alone = replace(alone, table=queries.table[:, ~of], density=queries.density[~of])
        others = crossfit.fit(NAMES, alone, ["none"]).whole
        best = others.best(queries.table[:, of], queries.whales, queries.density[of])
        assert best.labels.tolist() == fitted.labels[of].tolist()
        np.testing.assert_allclose(best.values, fitted.values[of], atol=1e-3)


def test_calibrated_probabilities_come_true_on_parts_they_were_not_fitted_on():
    queries = drawn(4000)
    fitted = crossfit.fit(NAMES, queries)
    answers = queries.asked.join(wide(fitted.labels, fitted.values)).assign(uncalibrated=fitted.uncalibrated)
    found = measures.probable(answers, np.ones((1, 4000)), 0.3, 0.0)
    assert found["ece"][0] < 0.03
    reached = decided(answers, fitted.thresholds[queries.part])
    auto = measures.answered(reached, np.ones((1, 4000)), 0.3, 0.0)["map5"][0]
    assert fitted.curve["map5"].max() - auto < 0.005


def test_a_decision_is_read_as_it_was_written():
    whole = crossfit.fit(NAMES, drawn()).whole
    assert decision.from_json(whole.as_json()) == whole


def test_the_curve_of_new_whale_photos_that_stand_in_is_theirs():
    queries = drawn(200)
    roles = queries.asked["role"].replace("unknown", "new_whale")
    stand_in = crossfit.fit(NAMES, replace(queries, asked=queries.asked.assign(role=roles)))
    fitted = crossfit.fit(NAMES, queries)
    pd.testing.assert_frame_equal(stand_in.curve, fitted.curve)


def test_values_are_rounded_as_files_keep_them():
    values = np.random.default_rng(0).random(1000) ** 3
    assert rounded(values).tolist() == [float(f"{value:.6g}") for value in values]
    assert rounded(np.array([0.0, 1.0])).tolist() == [0, 1]
