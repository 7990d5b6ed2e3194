"""Each metric against a slow reference, scikit-learn or an example by hand; the bootstrap against a loop."""

import time
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from whaleid.identification import metrics
from whaleid.identification.metrics import bootstrap_counts, mean_average_precision, reciprocal_ranks, with_intervals
from whaleid.identification.validation import Shares, kinds, query_weights

SHARES = Shares(0.3, 0.1)
ROLES = ["known", "unknown", "duplicate", "new_whale", "new_whale_train"]


def drawn(queries, seed=0):
    """Return decided answers with ties among probabilities, and the clusters of their whales."""
    generator = np.random.default_rng(seed)
    role = generator.choice(ROLES, queries, p=[0.6, 0.15, 0.1, 0.1, 0.05])
    number = generator.integers(0, queries // 2, queries)
    # a whale is known or not
    whale = np.array(
        [f"{kind}_{n}" if kind in ROLES[:3] else "new_whale" for kind, n in zip(role, number, strict=True)]
    )
    truth = np.where(np.isin(role, ["known", "duplicate"]), whale, "new_whale")
    rank = generator.integers(0, 6, queries)
    frame = pd.DataFrame(
        {
            "Image": [f"{n:05}.jpg" for n in range(queries)],
            "whale": whale,
            "role": role,
            "truth": truth,
            "rank": rank,
            "label1": np.where(generator.random(queries) < 0.6, truth, "somebody"),
            "probability1": generator.integers(0, 40, queries) / 40,
            "uncalibrated": generator.random(queries),
        }
    )
    _, cluster = np.unique(np.where(whale == "new_whale", frame["Image"], whale), return_inverse=True)
    return frame, cluster


def slow(answers, shares):
    """Return the metrics of some answers, one by one."""
    found = {}
    kind = kinds(answers["role"])
    gained = np.array([1 / rank if rank else 0.0 for rank in answers["rank"]])
    known, unknown = answers[kind == "known"], answers[kind == "unknown"]
    means = {name: gained[kind == name].mean() for name in ("known", "unknown", "duplicate")}
    fresh = (1 - shares[0]) * means["known"] + shares[0] * means["unknown"]
    found["map5"] = (1 - shares[1]) * fresh + shares[1] * means["duplicate"]
    found |= {"map5_no_duplicates": fresh, "map5_known": means["known"], "map5_unknown": means["unknown"]}
    found["map5_duplicates"] = means["duplicate"]
    found["top1"], found["top5"] = (known["rank"] == 1).mean(), (known["rank"] > 0).mean()
    for name, rows in (("baks", known), ("baus", unknown)):
        found[name] = (rows["rank"] == 1).groupby(rows["whale"]).mean().mean()
    found["baks_baus"] = (found["baks"] * found["baus"]) ** 0.5
    both = pd.concat([known, unknown])
    of_known = np.repeat([1, 0], [len(known), len(unknown)])
    found["auroc"] = roc_auc_score(of_known, both["probability1"])
    false, true, _ = roc_curve(of_known, both["probability1"], drop_intermediate=False)
    found["tpr_at_fpr01"], found["tpr_at_fpr05"] = true[false <= 0.01].max(), true[false <= 0.05].max()
    found["oscr"] = slow_oscr(known, unknown)
    counts = query_weights(answers["role"], shares)
    right = answers["label1"] == answers["truth"]
    found["ece"] = slow_ece(answers["probability1"], right, counts)
    found["ece_uncalibrated"] = slow_ece(answers["uncalibrated"], right, counts)
    return found


def slow_oscr(known, unknown):
    """Integrate the correct classification rate over the false positive rate by trapezes, threshold by threshold."""
    right = (known["label1"] == known["truth"]).to_numpy()
    points = [(0.0, 0.0)]
    for threshold in sorted({*known["probability1"], *unknown["probability1"]}, reverse=True):
        rate = ((known["probability1"] >= threshold).to_numpy() & right).mean()
        points.append(((unknown["probability1"] >= threshold).mean(), rate))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


def slow_ece(said, right, counts):
    total = 0.0
    for number in range(10):
        low, high = number / 10, (number + 1) / 10
        of = ((said > low) & (said <= high)) if number else (said <= high)
        if counts[of].sum():
            weights = counts[of] / counts[of].sum()
            total += counts[of].sum() * abs((weights * right[of]).sum() - (weights * said[of]).sum())
    return total


def every(answers, weights):
    counted = kinds(answers["role"]) != ""
    weights = weights[:, counted]
    return ranked(answers[counted], weights) | metrics.probability_metrics(answers[counted], weights, SHARES)


def ranked(answers, weights):
    return metrics.ranking_metrics(answers, answers["rank"].to_numpy(), weights, SHARES)


@pytest.mark.parametrize("seed", range(4))
def test_metrics_agree_with_a_slow_reference(seed):
    answers, _ = drawn(400, seed)
    found = every(answers, np.ones((1, 400)))
    assert {key: values.tolist() for key, values in found.items()} == {
        key: [pytest.approx(value)] for key, value in slow(answers, SHARES).items()
    }


def test_a_resampling_is_measured_as_if_its_queries_were_asked():
    answers, cluster = drawn(300)
    weights = bootstrap_counts(cluster, times=20)
    found = every(answers, weights)
    for row in range(1, 21):
        copies = []
        for query, times in enumerate(weights[row].astype(int)):
            for copy in range(times):  # a whale that is drawn twice is two whales
                one = answers.iloc[[query]].copy()
                one["whale"] = one["whale"] + f" {copy}"
                copies.append(one)
        expected = slow(pd.concat(copies, ignore_index=True), SHARES)
        assert {key: values[row] for key, values in found.items()} == pytest.approx(expected)


def test_a_thousand_resamplings_take_less_than_a_second_or_so():
    answers, cluster = drawn(1400)
    started = time.perf_counter()
    found = with_intervals(every(answers, bootstrap_counts(cluster)))
    assert time.perf_counter() - started < 5  # it takes half a second where the machine does nothing else
    assert all(found[f"{key}_low"] <= found[key] <= found[f"{key}_high"] for key in found if f"{key}_low" in found)


def test_balanced_accuracy_by_hand():
    # a whale with three photos, two of them right, counts as much as one whose only photo is wrong
    right = np.array([True, True, False, False])
    whales = np.array(["a", "a", "a", "b"])
    of = np.ones(4, dtype=bool)
    assert metrics.balanced_accuracy(right, whales, np.ones((1, 4)), of).tolist() == [pytest.approx(1 / 3)]


def test_area_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.7, 0.1])
    positive, negative = np.array([[1.0, 0, 1, 0, 1]]), np.array([[0.0, 1, 0, 1, 0]])
    # of six pairs: 0.9 above both; 0.7 below 0.8 and beside 0.7; 0.1 below both
    assert metrics.area(scores, positive, negative).tolist() == [pytest.approx(2.5 / 6)]
    # if 0.9 is wrong, only the half remains
    right = np.array([False, True, True, True, True])
    assert metrics.area(scores, positive, negative, right).tolist() == [pytest.approx(0.5 / 6)]


def test_open_set_rate_of_a_classifier_that_is_always_right_is_auroc():
    answers, _ = drawn(300)
    answers["label1"] = answers["truth"]
    found = every(answers, np.ones((1, 300)))
    assert found["oscr"].tolist() == pytest.approx(found["auroc"].tolist())


def test_accepted_by_hand():
    scores = np.linspace(1, 0, 11)
    negative = np.array([[0.0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 1]])
    positive = 1 - negative
    # before the first of four unknown come 2 of 7 known, before the second 4, all equals counting as accepted
    rates = [metrics.true_positive_rate(scores, positive, negative, rate)[0] for rate in (0.0, 0.2, 0.25, 0.5, 1.0)]
    assert rates == pytest.approx([2 / 7, 2 / 7, 4 / 7, 6 / 7, 1])
    assert np.isnan(metrics.true_positive_rate(scores, positive, 0 * negative, 0.05)[0])


def test_calibration_error_by_hand():
    # Naeini et al. (2015): bins by what is said; |0.5 - 0.855| of half the queries, |1 - 0.95| of the others
    said, right = np.array([0.8, 0.9, 0.95, 0.95]), np.array([True, False, True, True])
    known, nobody, once = np.ones(4, dtype=bool), np.zeros(4, dtype=bool), np.ones((1, 4))

    def error(said, kinds):
        return metrics.calibration_error(said, right, once, kinds, SHARES).tolist()

    apart = (abs(1 - 0.8) + abs(0 - 0.9) + 2 * abs(1 - 0.95)) / 4
    assert error(said, (known, nobody, nobody)) == [pytest.approx(apart)]
    together = np.array([0.85, 0.86, 0.95, 0.95])
    assert error(together, (known, nobody, nobody)) == [pytest.approx(abs(0.5 - 0.855) / 2 + 0.05 / 2)]
    # the first two known, the others unknown: 0.7 and 0.3 in weight
    first = np.array([True, True, False, False])
    assert error(together, (first, ~first, nobody)) == [pytest.approx(0.7 * abs(0.5 - 0.855) + 0.3 * 0.05)]


def test_error_by_chance_is_what_perfect_probabilities_show():
    said = np.random.default_rng(0).random(500)
    found = metrics.chance_error(said, np.full(500, 1 / 500))
    generator = np.random.default_rng(1)
    shown = [slow_ece(said, generator.random(500) < said, np.full(500, 1 / 500)) for _ in range(200)]
    assert found == pytest.approx(np.mean(shown), abs=0.002)
    assert metrics.chance_error(np.ones(9), np.full(9, 1 / 9)) == 0
    assert metrics.chance_error(said, np.full(500, 1 / 500)) == found


def test_kinds_without_queries_have_no_figure():
    answers, _ = drawn(50)
    known = answers[answers["role"] == "known"]
    weights = np.ones((1, len(known)))
    assert list(ranked(known, weights)) == [
        "map5", "map5_known", "map5_no_duplicates", "top1", "top5", "baks"
    ]  # fmt: skip
    assert list(metrics.probability_metrics(known, weights, SHARES)) == ["ece", "ece_uncalibrated"]
    duplicates = answers[answers["role"] == "duplicate"]
    assert list(ranked(duplicates, np.ones((1, len(duplicates))))) == ["map5", "map5_duplicates"]


def test_photos_labelled_new_whale_are_measured_separately():
    answers, cluster = drawn(200)
    answers = answers.assign(cluster=cluster)
    found = metrics.bootstrap(answers, answers["rank"].to_numpy(), SHARES)
    gained = np.where(answers["rank"] > 0, 1 / answers["rank"].clip(lower=1), 0)
    for role in ("new_whale", "new_whale_train"):
        assert found[f"map5_{role}"].shape == (1001,)
        assert found[f"map5_{role}"][0] == pytest.approx(gained[answers["role"] == role].mean())
    others = answers[~answers["role"].isin(["new_whale", "new_whale_train"])]
    without = metrics.bootstrap(others, others["rank"].to_numpy(), SHARES)
    assert found.keys() - without.keys() == {"map5_new_whale", "map5_new_whale_train"}
    for key, values in without.items():
        np.testing.assert_allclose(found[key], values)


def test_clusters_are_drawn_whole_and_as_many_as_there_are():
    cluster = np.array([7, 7, 7, 2, 5, 5])
    drawn_often = bootstrap_counts(cluster, times=500)
    assert drawn_often.shape == (501, 6)
    assert drawn_often[0].tolist() == [1] * 6
    assert (drawn_often[:, 0] == drawn_often[:, 2]).all()
    assert (drawn_often[:, [0, 3, 4]].sum(axis=1) == 3).all()
    assert drawn_often[1:, 3].mean() == pytest.approx(1, abs=0.1)
    assert (bootstrap_counts(cluster, times=500) == drawn_often).all()


def test_an_interval_is_where_95_per_cent_of_resamplings_are():
    values = np.append(0.5, np.random.default_rng(0).permutation(np.arange(1000) / 1000))
    found = with_intervals(
        {"map5": values, "ece": np.array([0.1, 0.2, 0.3]), "oscr": np.array([0.5, np.nan, 0.4, 0.6])}
    )
    assert [found["map5_low"], found["map5"], found["map5_high"]] == pytest.approx([0.025, 0.5, 0.975], abs=0.002)
    assert found["ece_low"] == 0.1  # where chance only adds, an interval still holds its figure
    assert [found["oscr_low"], found["oscr_high"]] == pytest.approx([0.4, 0.6], abs=0.01)


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    answers = pd.DataFrame({"role": "known", "rank": np.random.default_rng(0).integers(0, 2, 2000)})
    answers = answers.assign(Image=[str(n) for n in range(2000)], whale="w", truth="w")
    found = with_intervals(ranked(answers, bootstrap_counts(np.arange(2000))))
    error = np.sqrt(found["top5"] * (1 - found["top5"]) / 2000)
    assert found["top5_high"] - found["top5_low"] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_average_precision_by_hand():
    ranked = [
        ["w_1", "w_2", "w_3", "w_4", "w_5"],  # first: 1
        ["w_2", "w_1"],  # second: 1/2
        ["w_2", "w_2", "w_1"],  # second of the distinct ones: 1/2
        ["w_2", "w_3", "w_4", "w_5", "w_1"],  # fifth: 1/5
        ["w_2", "w_3", "w_4", "w_5", "w_6", "w_1"],  # sixth: 0
        ["w_2", "w_2", "w_3", "w_4", "w_5", "w_1"],  # fifth of the distinct ones: 1/5
        ["new_whale"],  # not there: 0
        [],
    ]
    expected = [1, 1 / 2, 1 / 2, 1 / 5, 0, 1 / 5, 0, 0]
    assert reciprocal_ranks(ranked, ["w_1"] * 8).tolist() == expected
    assert mean_average_precision(ranked, ["w_1"] * 8) == pytest.approx(2.4 / 8)
    assert mean_average_precision([["new_whale", "w_1"]], ["new_whale"]) == 1


def test_one_map5_of_all_kinds():
    answers, _ = drawn(200)
    ranks = answers["rank"].to_numpy()
    expected = ranked(answers, np.ones((1, 200)))["map5"][0]
    assert metrics.map5(answers["role"], ranks, SHARES) == pytest.approx(expected)
