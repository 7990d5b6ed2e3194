"""Metrics: comparison with slow references and scikit-learn, worked examples, and the bootstrap against a loop."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from whaleid.identification import metrics
from whaleid.identification.map5 import Shares, kinds, query_weights
from whaleid.identification.metrics import bootstrap_counts, with_intervals

SHARES = Shares(0.3, 0.1)
ROLES = ["known", "unknown", "duplicate", "new_whale", "new_whale_train"]


def random_answers(queries, seed=0):
    """Return random answers at a threshold, with ties between probabilities; each whale is a cluster."""
    generator = np.random.default_rng(seed)
    role = generator.choice(ROLES, queries, p=[0.5, 0.2, 0.1, 0.1, 0.1])
    number = generator.integers(0, queries // 2, queries)
    # the name of a whale includes its role, so that a whale has one role
    whale = np.array(
        [f"{kind}_{n}" if kind in ROLES[:3] else "new_whale" for kind, n in zip(role, number, strict=True)]
    )
    image = np.array([f"{n:05}.jpg" for n in range(queries)])
    truth = np.where(np.isin(role, ["known", "duplicate"]), whale, "new_whale")
    _, cluster = np.unique(np.where(whale == "new_whale", image, whale), return_inverse=True)
    return pd.DataFrame(
        {
            "Image": image,
            "whale": whale,
            "role": role,
            "truth": truth,
            "rank": generator.integers(0, 6, queries),
            "label1": np.where(generator.random(queries) < 0.6, truth, "other"),
            "probability1": generator.integers(0, 40, queries) / 40,
            "uncalibrated": generator.random(queries),
            "cluster": cluster,
        }
    )


def slow_metrics(answers):
    """Compute the metrics of answers one by one."""
    kind = kinds(answers["role"])
    reciprocals = np.array([1 / rank if rank else 0.0 for rank in answers["rank"]])
    known, unknown = answers[kind == "known"], answers[kind == "unknown"]
    means = {name: reciprocals[kind == name].mean() for name in ("known", "unknown", "duplicate")}
    no_duplicates = 0.7 * means["known"] + 0.3 * means["unknown"]
    baks, baus = ((rows["rank"] == 1).groupby(rows["whale"]).mean().mean() for rows in (known, unknown))
    both = pd.concat([known, unknown])
    is_known = np.repeat([1, 0], [len(known), len(unknown)])
    false, true, _ = roc_curve(is_known, both["probability1"], drop_intermediate=False)
    weights = query_weights(kind, SHARES)
    correct = answers["label1"] == answers["truth"]
    return {
        "map5": 0.9 * no_duplicates + 0.1 * means["duplicate"],
        "map5_known": means["known"],
        "map5_unknown": means["unknown"],
        "map5_duplicates": means["duplicate"],
        "map5_no_duplicates": no_duplicates,
        "top1": (known["rank"] == 1).mean(),
        "top5": (known["rank"] > 0).mean(),
        "baks": baks,
        "baus": baus,
        "baks_baus": (baks * baus) ** 0.5,
        "auroc": roc_auc_score(is_known, both["probability1"]),
        "tpr_at_fpr01": true[false <= 0.01].max(),
        "tpr_at_fpr05": true[false <= 0.05].max(),
        "oscr": slow_oscr(known, unknown),
        "ece": slow_ece(answers["probability1"], correct, weights),
        "ece_uncalibrated": slow_ece(answers["uncalibrated"], correct, weights),
    }


def slow_oscr(known, unknown):
    """Integrate the correct classification rate over the false positive rate with the trapezoidal rule."""
    correct = (known["label1"] == known["truth"]).to_numpy()
    points = [(0.0, 0.0)]
    for threshold in sorted({*known["probability1"], *unknown["probability1"]}, reverse=True):
        rate = ((known["probability1"] >= threshold).to_numpy() & correct).mean()
        points.append(((unknown["probability1"] >= threshold).mean(), rate))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


def slow_ece(probability, correct, weights):
    total = 0.0
    for number in range(10):
        low, high = number / 10, (number + 1) / 10
        rows = ((probability > low) & (probability <= high)) if number else (probability <= high)
        total += abs((weights[rows] * (correct[rows].astype(float) - probability[rows])).sum())
    return total


def all_metrics(answers, counts):
    counted = (kinds(answers["role"]) != "").tolist()
    answers, counts = answers[counted], counts[:, counted]
    ranked = metrics.ranking_metrics(answers, answers["rank"].to_numpy(), counts, SHARES)
    return ranked | metrics.probability_metrics(answers, counts, SHARES)


@pytest.mark.parametrize("seed", range(2))
def test_metrics_agree_with_a_slow_reference(seed):
    answers = random_answers(300, seed)
    result, expected = all_metrics(answers, np.ones((1, 300))), slow_metrics(answers)
    assert {key: values.tolist() for key, values in result.items()} == {
        key: [pytest.approx(value)] for key, value in expected.items()
    }
    assert [*result] == [*expected]


def test_a_resample_equals_repeated_queries():
    answers = random_answers(150)
    counts = bootstrap_counts(answers["cluster"].to_numpy(), times=3)
    result = all_metrics(answers, counts)
    for row in (1, 2, 3):
        times = counts[row].astype(int)
        repeated = answers.loc[answers.index.repeat(times)]
        copy = np.concatenate([np.arange(count) for count in times])
        # a whale drawn twice counts as two whales
        repeated = repeated.assign(whale=repeated["whale"] + copy.astype(str))
        assert {key: values[row] for key, values in result.items()} == pytest.approx(slow_metrics(repeated))


def test_ranks_at_several_thresholds_are_measured_independently():
    answers, counts = random_answers(150), np.ones((1, 150))
    ranks = np.random.default_rng(1).integers(0, 6, (150, 3))
    result = metrics.ranking_metrics(answers, ranks, counts, SHARES)
    for column in range(3):
        expected = metrics.ranking_metrics(answers, ranks[:, column], counts, SHARES)
        for key, values in expected.items():
            np.testing.assert_allclose(result[key][:, column], values)


def test_balanced_accuracy_by_hand():
    # whale a has accuracy 2/3, whale b has 0: both count equally
    correct, whales = np.array([True, True, False, False]), np.array(["a", "a", "a", "b"])
    counts = np.array([[1.0] * 4, [2, 2, 2, 1]])  # in the second row, a counts twice
    assert metrics.balanced_accuracy(correct, whales, counts) == pytest.approx([1 / 3, 4 / 9])


def test_each_photo_labelled_new_whale_counts_as_a_separate_whale():
    answers = pd.DataFrame({"Image": ["1", "2", "3"], "whale": "new_whale", "role": "new_whale"})
    result = metrics.ranking_metrics(answers, np.array([1, 2, 1]), np.array([[1.0, 1, 1], [2, 1, 0]]), SHARES)
    assert result["baus"] == pytest.approx([2 / 3, 2 / 3])


def test_area_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.7, 0.1])
    positive, negative = np.array([[1.0, 0, 1, 0, 1]]), np.array([[0.0, 1, 0, 1, 0]])
    # six pairs: 0.9 is above both negatives, 0.7 is below 0.8 and equal to 0.7, 0.1 is below both
    assert metrics.area_under_curve(scores, positive, negative) == pytest.approx([2.5 / 6])
    # if 0.9 is not correct, only the half of the tie remains
    correct = np.array([False, True, True, True, True])
    assert metrics.area_under_curve(scores, positive, negative, correct) == pytest.approx([0.5 / 6])
    assert np.isnan(metrics.area_under_curve(scores, positive, 0 * negative)).all()


def test_true_positive_rate_by_hand():
    scores = np.linspace(1, 0, 11)
    negative = np.array([[0.0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 1]])
    positive = 1 - negative
    # 2 of 7 positives are above the first of four negatives, 4 above the second, 6 above the third
    rates = [metrics.true_positive_rate(scores, positive, negative, rate)[0] for rate in (0.0, 0.2, 0.25, 0.5, 1.0)]
    assert rates == pytest.approx([2 / 7, 2 / 7, 4 / 7, 6 / 7, 1])
    rows = metrics.true_positive_rate(scores, np.vstack([positive] * 2), np.vstack([0 * negative, negative]), 0.05)
    np.testing.assert_equal(rows, [np.nan, 2 / 7])
    assert np.isnan(metrics.true_positive_rate(scores, 0 * positive, negative, 0.05)[0])


def test_false_positive_rates_are_1_and_5_percent():
    # unknown and known queries alternate by descending probability
    answers = pd.DataFrame({"role": ["unknown", "known"] * 100, "truth": "w", "label1": "w"})
    answers = answers.assign(probability1=np.linspace(1, 0, 200), uncalibrated=0.5)
    result = metrics.probability_metrics(answers, np.ones((1, 200)), SHARES)
    assert (result["tpr_at_fpr01"], result["tpr_at_fpr05"]) == (0.01, 0.05)


def test_calibration_error_by_hand():
    correct = np.array([True, False, True, True])

    def error(probability, *weights):
        return metrics.calibration_error(np.array(probability), correct, np.array([weights]))

    # 0.8 is the upper bound of the eighth bin, 0.9 that of the ninth
    separate = (abs(1 - 0.8) + abs(0 - 0.9) + 2 * abs(1 - 0.95)) / 4
    assert error([0.8, 0.9, 0.95, 0.95], 0.25, 0.25, 0.25, 0.25) == pytest.approx([separate])
    together = [0.85, 0.86, 0.95, 0.95]
    assert error(together, 0.25, 0.25, 0.25, 0.25) == pytest.approx([abs(0.5 - 0.855) / 2 + 0.05 / 2])
    assert error(together, 0.35, 0.35, 0.15, 0.15) == pytest.approx([0.7 * abs(0.5 - 0.855) + 0.3 * 0.05])


def test_bins_include_their_upper_bound():
    assert metrics.bin_indices(np.array([0.0, 0.05, 0.1, 0.11, 0.2, 0.95, 1.0])).tolist() == [0, 0, 0, 1, 1, 9, 9]


def test_chance_calibration_error_equals_the_error_of_perfect_calibration():
    probability, weights = np.random.default_rng(0).random(200), np.full(200, 1 / 200)
    generator = np.random.default_rng(1)
    errors = [slow_ece(probability, generator.random(200) < probability, weights) for _ in range(200)]
    assert metrics.chance_calibration_error(probability, weights) == pytest.approx(np.mean(errors), abs=0.003)
    assert metrics.chance_calibration_error(np.ones(9), np.full(9, 1 / 9)) == 0
    # the simulation has a fixed seed: 277 of 1000 answers are correct
    assert metrics.chance_calibration_error(np.array([0.3]), np.array([1.0])) == pytest.approx(0.3 + 0.4 * 0.277)


def test_metrics_that_need_known_and_unknown_queries():
    answers = random_answers(50)
    known = answers[answers["role"] == "known"]
    counts = np.ones((1, len(known)))
    assert list(metrics.ranking_metrics(known, known["rank"].to_numpy(), counts, SHARES)) == [
        *["map5", "map5_known", "map5_no_duplicates", "top1", "top5", "baks"]
    ]
    assert list(metrics.probability_metrics(known, counts, SHARES)) == ["ece", "ece_uncalibrated"]
    unknown = answers[answers["role"] == "unknown"]
    assert list(all_metrics(unknown, np.ones((1, len(unknown))))) == [
        *["map5", "map5_unknown", "map5_no_duplicates", "baus", "ece", "ece_uncalibrated"]
    ]


def test_photos_labelled_new_whale_are_measured_separately():
    answers = random_answers(120)
    result = metrics.bootstrap(answers, answers["rank"].to_numpy(), SHARES)
    reciprocals = np.where(answers["rank"] > 0, 1 / answers["rank"].clip(lower=1), 0)
    for role in ("new_whale", "new_whale_train"):
        rows = (answers["role"] == role).to_numpy()
        counts = bootstrap_counts(answers.loc[rows, "cluster"].to_numpy())
        np.testing.assert_allclose(result[f"map5_{role}"], counts @ reciprocals[rows] / rows.sum())
    counted = answers[~answers["role"].isin(["new_whale", "new_whale_train"])]
    expected = metrics.bootstrap(counted, counted["rank"].to_numpy(), SHARES)
    assert result.keys() - expected.keys() == {"map5_new_whale", "map5_new_whale_train"}
    for key, values in expected.items():
        assert values.shape == (1001,)
        np.testing.assert_allclose(result[key], values)


def test_bootstrap_draws_whole_clusters_with_replacement():
    cluster = np.array([7, 7, 7, 2, 5, 5])
    counts = bootstrap_counts(cluster, times=500)
    assert counts.shape == (501, 6)
    assert counts[0].tolist() == [1] * 6
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, [0, 3, 4]].sum(axis=1) == 3).all()
    assert counts[1:, 3].mean() == pytest.approx(1, abs=0.1)
    # the draws have a fixed seed; clusters are in the order 2, 5, 7
    draws = np.random.default_rng(0).integers(3, size=(500, 3))
    assert counts[1:, [3, 4, 0]].tolist() == [[row.count(number) for number in range(3)] for row in draws.tolist()]


def test_an_interval_contains_95_percent_of_the_resamples():
    values = np.append(0.5, np.random.default_rng(0).permutation(np.arange(1001) / 1000))
    result = with_intervals(
        {
            "map5": values,
            "ece": np.array([0.1, 0.2, 0.3]),
            "top1": np.array([0.9, 0.2, 0.3]),
            "oscr": np.array([0.5, np.nan, 0.4, 0.6]),
        }
    )
    assert [result["map5_low"], result["map5"], result["map5_high"]] == pytest.approx([0.025, 0.5, 0.975])
    # an interval is extended to contain its metric
    assert [result["ece_low"], result["ece"], result["ece_high"]] == pytest.approx([0.1, 0.1, 0.2975])
    assert [result["top1_low"], result["top1"], result["top1_high"]] == pytest.approx([0.2025, 0.9, 0.9])
    assert [result["oscr_low"], result["oscr"], result["oscr_high"]] == pytest.approx([0.405, 0.5, 0.595])


def test_the_interval_of_a_mean_agrees_with_its_standard_error():
    answers = pd.DataFrame({"role": "known", "rank": np.random.default_rng(0).integers(0, 2, 1000)})
    answers = answers.assign(Image=answers.index.astype(str), whale="w", cluster=np.arange(1000))
    result = with_intervals(metrics.bootstrap(answers, answers["rank"].to_numpy(), SHARES))
    error = np.sqrt(result["top5"] * (1 - result["top5"]) / 1000)
    assert result["top5_high"] - result["top5_low"] == pytest.approx(2 * 1.96 * error, rel=0.1)
