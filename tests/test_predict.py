"""Stages calibrate and predict on a hand-made folder: every figure can be worked out from the tables here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from whaleid import config
from whaleid.core import files, paths
from whaleid.core.errors import InputProblems
from whaleid.identification import networks
from whaleid.stages import calibrate, features, predict

PROJECT = Path(__file__).parents[1]
TRAIN = {
    **{"a1.jpg": "w_a", "a2.jpg": "w_a", "a3.jpg": "w_a", "b1.jpg": "w_b", "b2.jpg": "w_b"},
    **{"c1.jpg": "w_c", "c2.jpg": "w_c", "d1.jpg": "w_d", "e1.jpg": "w_e", "u1.jpg": "w_u"},
    **{"n1.jpg": "new_whale", "n2.jpg": "new_whale"},
}
TEST = ["t1.jpg", "t2.jpg", "t3.jpg", "t4.jpg"]
ROLES = {
    **{"a3.jpg": "known", "b2.jpg": "known", "u1.jpg": "unknown"},
    **{"n2.jpg": "new_whale", "c2.jpg": "duplicate"},
}
CLASSES = ["w_a", "w_b", "w_c", "w_d", "w_e"]
PROBABILITIES = {  # of CLASSES
    "a3.jpg": [0.60, 0.10, 0.10, 0.10, 0.10],  # at 0.22: w_a, new_whale: 1
    "b2.jpg": [0.40, 0.30, 0.20, 0.06, 0.04],  # w_a, w_b, new_whale: 1/2
    "c2.jpg": [0.70, 0.12, 0.10, 0.05, 0.03],  # w_a, new_whale, w_b, w_c: 1/4; its duplicate says w_c: 1
    "n1.jpg": [0.20, 0.20, 0.20, 0.20, 0.20],  # new_whale: 1
    "n2.jpg": [0.70, 0.10, 0.10, 0.05, 0.05],  # w_a, new_whale: 1/2
    "u1.jpg": [0.55, 0.25, 0.10, 0.05, 0.05],  # w_a, w_b, new_whale: 1/3
    "t1.jpg": [0.10, 0.10, 0.60, 0.10, 0.10],
    "t2.jpg": [0.30, 0.10, 0.06, 0.04, 0.50],
    "t3.jpg": [0.20, 0.20, 0.20, 0.20, 0.20],
    "t4.jpg": [0.04, 0.03, 0.02, 0.90, 0.01],
}
LOOKS = {**dict.fromkeys(["a3.jpg", "b2.jpg", "u1.jpg"], 9.0), **dict.fromkeys(TEST, -9.0)}
"""One more number of embeddings, that photos have in common with others and not with classes: what validation holds
out looks unlike the queries to come, so that w_u, which is no class, is their last candidate."""
NONE = {"method": "none"}
SOLUTION = {"t1.jpg": "w_c", "t2.jpg": "w_e", "t3.jpg": "new_whale", "t4.jpg": "w_a"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = {**TRAIN, **dict.fromkeys(TEST, "")}
    put(paths.CATALOG, ["Image", "Id", "part"], [(i, photos[i], part_of(i)) for i in photos])
    split = [
        (i, label, "validation" if i in ROLES else "train", ROLES.get(i, "catalogue")) for i, label in TRAIN.items()
    ]
    put(paths.SPLIT, ["Image", "Id", "part", "role"], split)
    groups = [(0, "c1.jpg"), (0, "c2.jpg"), (1, "b1.jpg"), (1, "t2.jpg")]
    put(paths.GROUPS, ["group", "Image", "part", "Id"], [(g, i, part_of(i), photos[i]) for g, i in groups])
    put(paths.LEAKS, ["query", "photo", "Id", "distance", "error"], [("t2.jpg", "b1.jpg", "w_b", 2, 0.01)])
    put(paths.SOLUTION, ["Image", "Id"], SOLUTION.items())
    for image in photos:
        (tmp_path / "photos" / part_of(image)).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 4)).save(tmp_path / "photos" / part_of(image) / image)
    return tmp_path


def part_of(image):
    return "test" if image in TEST else "train"


def put(path, columns, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)


def put_features(variant, classes=CLASSES, likely=PROBABILITIES, looks=LOOKS):
    """Logarithms of probabilities as embeddings and one class an axis: the softmax gives the probabilities back."""
    images = [*dict.fromkeys([*TRAIN, *TEST, *likely])]
    rows = [[*np.log(likely.get(image, [1 / len(classes)] * len(classes))), looks.get(image, 0.0)] for image in images]
    paths.features(variant).parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        paths.features(variant),
        images=np.array(images),
        embeddings=np.array([rows], dtype=np.float32),
        centres=np.eye(len(classes), len(classes) + 1, dtype=np.float32)[None, :, None],
        classes=np.array(classes),
    )


def put_calibration(variant, threshold_auto=0.65, bias=-99.0, calibration=NONE, **weights):
    """With a weight of 1 the class scores are the logits; that of new_whale is out of the way."""
    said = {"weights": {"class": 1.0} | weights, "bias": bias, "calibration": calibration}
    paths.calibration(variant).parent.mkdir(exist_ok=True)
    paths.calibration(variant).write_text(json.dumps(said | {"threshold_auto": threshold_auto}))


def put_validation(variant, evidence=(), thresholds=(0.65,), learnt=()):
    """Write answers to validation as PROBABILITIES have them; `evidence` makes w_c of c2.jpg nine times as likely."""
    rows = []
    for number, (image, role) in enumerate(sorted({**ROLES, "n1.jpg": "new_whale_train"}.items())):
        if role in learnt:
            continue
        likely = dict(zip(CLASSES, PROBABILITIES[image], strict=True))
        if image in evidence:
            likely["w_c"] *= 9
        total = sum(likely.values())
        ranked = sorted(likely, key=lambda label: (-likely[label], label))
        whale = TRAIN[image]
        truth = "new_whale" if role == "unknown" else whale
        values = [round(likely[label] / total, 6) for label in ranked]
        threshold = thresholds[number % len(thresholds)]
        centroid = 1 / (1 + ranked.index(truth)) if truth in ranked else 0
        rows.append((image, whale, role, truth, number % 5, threshold, *ranked, *values, values[0], centroid))
    named = [f"{kind}{place}" for kind in ("label", "probability") for place in range(1, 6)]
    columns = ["Image", "whale", "role", "truth", "part", "threshold", *named, "uncalibrated", "centroid"]
    put(paths.validation(variant), columns, rows)
    curve = [(0.0, 0.5), (0.65, 0.6), (1.0, 0.4)]
    put(paths.threshold_curve(variant), ["threshold", "map5"], curve)


def settings(threshold="auto", scores=("class", "duplicates")):
    yaml = YAML()
    values = yaml.load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    values["threshold"] = threshold
    values["ensemble"] = ["toy", "threshold"]
    values["data"]["root"] = "photos"
    values["split"]["unknown_share"] = 0.3
    for variant in values["variants"].values():
        variant["scores"] = list(scores)
    with paths.PARAMS.open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    return config.load(paths.PARAMS)


def run(variant, threshold="auto"):
    record = predict.run(settings(threshold), variant)
    written = json.loads(paths.metrics(variant).read_text())
    assert written == pytest.approx(record.metrics, rel=1e-5)
    return record, written, paths.submission(variant).read_text().splitlines()


def points(written):
    """Return the figures without their intervals, each of which holds its figure."""
    found = {}
    for key, value in written.items():
        if key.endswith(("_low", "_high")) and not key.startswith("threshold"):
            low, high = written[key.removesuffix("_high").removesuffix("_low")], value
            assert low <= high if key.endswith("_high") else high <= low, key
        else:
            found[key] = value
    return found


def test_a_network_and_duplicates(folder):
    put_features("threshold")
    put_calibration("threshold", duplicates=float(np.log(9)))  # nine times as likely
    put_validation("threshold", evidence=["c2.jpg"], thresholds=[0.61, 0.65, 0.7])
    record, written, submission = run("threshold", 0.22)
    assert submission == [
        "Image,Id",
        "t1.jpg,w_c new_whale w_a w_b w_d",
        "t2.jpg,w_b w_e new_whale w_a w_c",  # 0.9 and 0.5 of 1.8
        "t3.jpg,new_whale w_a w_b w_c w_d",
        "t4.jpg,w_d new_whale w_a w_b w_c",
    ]
    no_duplicates = 0.7 * (1 + 1 / 2) / 2 + 0.3 * 1 / 3
    # at auto, nobody is above the threshold of its part
    at_auto = 1 / 4 * 1 / 2 + 3 / 4 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1)
    map5 = 1 / 4 * 1 + 3 / 4 * no_duplicates
    said = [0.6, 0.4, 0.9 / 1.8, 0.55]  # a3 and c2 are right
    expected = {
        "map5": map5,  # one query of four is a leak
        "map5_known": (1 + 1 / 2) / 2,
        "map5_unknown": 1 / 3,
        "map5_duplicates": 1,
        "map5_no_duplicates": no_duplicates,
        "top1": 0.5,
        "top5": 1,
        "baks": 0.5,
        "baus": 0,
        "baks_baus": 0,
        "map5_new_whale": 1 / 2,
        "map5_new_whale_train": 1,
        "auroc": 1 / 2,  # 0.55 is below a3's and above b2's
        "tpr_at_fpr01": 1 / 2,
        "tpr_at_fpr05": 1 / 2,
        "oscr": 1 / 2,
    }
    found = points(written)
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    weights = [0.75 * 0.7 / 2, 0.75 * 0.7 / 2, 0.25, 0.75 * 0.3]
    together = weights[0] * (1 - said[0]) + weights[3] * (0 - said[3])  # between 0.5 and 0.6
    assert found["ece"] == pytest.approx(abs(together) + weights[1] * said[1] + weights[2] * (1 - said[2]), rel=1e-4)
    rest = {
        "threshold": 0.22,
        "threshold_auto": 0.65,
        "threshold_auto_low": 0.61,
        "threshold_auto_high": 0.7,
        "map5_auto": 0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1,
        "baseline_new_whale": 3 / 4 * 0.3,
        "baseline_centroid": 1 / 4 * 1 + 3 / 4 * 0.7 * (1 + 1 / 2) / 2,
        "baseline_duplicates": 1 / 4 * 1 + 3 / 4 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1),
        "solution_map5": (1 + 1 / 2 + 1 + 1 / 3) / 4,
        "solution_map5_no_duplicates": (1 + 1 + 1 / 3) / 3,
    }
    assert {key: found[key] for key in rest} == pytest.approx(rest, rel=1e-5)
    assert found["threshold_cost"] == pytest.approx(at_auto - map5, rel=1e-4)
    assert found.keys() - expected.keys() - rest.keys() == {"ece", "ece_uncalibrated", "ece_chance", "threshold_cost"}
    said = {"variant": "threshold", "threshold": 0.22, "scores": "class duplicates", "neighbours": "exact"}
    assert record.params == said
    read = {paths.features("threshold"), paths.calibration("threshold"), paths.validation("threshold"), paths.LEAKS}
    assert read <= {*record.inputs}
    assert record.outputs == [paths.submission("threshold")]
    assert record.artifacts == [paths.submission("threshold"), paths.metrics("threshold"), paths.report("threshold")]
    assert (paths.report("threshold") / "report.html").is_file()


def test_auto_answers_each_photo_at_the_threshold_found_without_it(folder):
    put_features("toy")
    put_calibration("toy")
    put_validation("toy", thresholds=[0.22, 0.65])
    record, written, submission = run("toy")
    assert record.params["threshold"] == "auto"
    assert written["threshold"] == 0.65
    assert written["threshold_cost"] == 0
    assert [written["threshold_auto_low"], written["threshold_auto_high"]] == [0.22, 0.65]
    # a3 at 0.22: w_a first; b2 at 0.65: new_whale, w_a, w_b; u1 at 0.65: new_whale first
    assert written["map5_known"] == pytest.approx((1 + 1 / 3) / 2, rel=1e-5)
    assert written["map5_unknown"] == 1
    assert submission[1] == "t1.jpg,new_whale w_c w_a w_b w_d"  # what is to come: at the threshold of the whole


def test_probabilities_to_come_are_calibrated(folder):
    put_features("toy")
    # a logit of 0 stays, others are halved: 0.9 becomes 0.75, 0.6 becomes 0.55
    put_calibration("toy", calibration={"method": "temperature", "weights": {"logit": 0.5}, "intercept": 0})
    put_validation("toy")
    assert run("toy", 0.74)[2][4] == "t4.jpg,w_d new_whale w_a w_b w_c"
    assert run("toy", 0.76)[2][4] == "t4.jpg,new_whale w_d w_a w_b w_c"
    assert run("toy", 0.56)[2][1] == "t1.jpg,new_whale w_c w_a w_b w_d"
    assert run("toy", 0.54)[2][1] == "t1.jpg,w_c new_whale w_a w_b w_d"


def test_a_network_on_its_own_does_not_look_at_duplicates(folder):
    put_features("toy")
    put_calibration("toy")
    put_validation("toy")
    record, written, submission = run("toy", 0.22)
    assert "t2.jpg,w_e w_a new_whale w_b w_c" in submission
    assert written["map5_duplicates"] == 1 / 4
    assert record.params["scores"] == "class"


def test_queries_are_compared_with_whales_that_validation_held_out(folder):
    put_features("toy", looks={"u1.jpg": 9.0, **dict.fromkeys(TEST, -9.0), "t4.jpg": 9.0})
    put_calibration("toy")
    put_validation("toy")
    _, _, submission = run("toy", 0.22)
    assert [line.split()[0] for line in submission[1:]] == [
        "t1.jpg,w_c",
        "t2.jpg,w_e",
        "t3.jpg,new_whale",
        "t4.jpg,w_u",
    ]


def test_blocks_of_queries_give_what_all_at_once_give(folder, monkeypatch):
    put_features("toy")
    put_calibration("toy", nearest=0.5, centroid=0.1, duplicates=1.0)
    put_validation("toy")
    whole = run("toy", 0.22)[1:]
    monkeypatch.setattr(networks, "BLOCK", 3)
    assert run("toy", 0.22)[1:] == whole


def test_neighbours_answer_what_all_photos_do_and_their_recall_is_told(folder):
    put_features("toy")
    put_calibration("toy", nearest=0.5, centroid=0.1, duplicates=1.0)
    put_validation("toy")
    _, exact, submission = run("toy", 0.22)
    near = settings(0.22).model_copy(update={"neighbours": "approximate"})
    record = predict.run(near, "toy")
    assert paths.submission("toy").read_text().splitlines() == submission
    assert json.loads(paths.metrics("toy").read_text()) == exact | {"neighbour_recall": 1.0}  # so few are one list
    assert record.params["neighbours"] == "approximate"


def test_an_ensemble_weighs_the_scores_of_both_networks(folder):
    flattened = {image: np.sqrt(likely) / np.sqrt(likely).sum() for image, likely in PROBABILITIES.items()}
    put_features("toy", likely=flattened)
    put_features("threshold", [*CLASSES[::-1], "new_whale"], {i: [*p[::-1], 1.0] for i, p in flattened.items()})
    # the square roots of probabilities, multiplied, are the probabilities again
    weights = {"toy_class": 1.0, "duplicates": float(np.log(9)), "threshold_class": 1.0}
    paths.calibration("ensemble").parent.mkdir()
    said = {"weights": weights, "bias": -99.0, "calibration": NONE, "threshold_auto": 0.22}
    paths.calibration("ensemble").write_text(json.dumps(said))
    put_validation("ensemble", learnt=["new_whale_train"])
    record, _, submission = run("ensemble")
    put_features("margin")
    put_calibration("margin", threshold_auto=0.22, duplicates=float(np.log(9)))
    put_validation("margin")
    _, _, expected = run("margin")
    assert submission == expected
    assert record.params == {
        "variant": "ensemble",
        "threshold": "auto",
        "scores": "toy_class duplicates threshold_class",
        "neighbours": "exact",
    }
    assert {paths.features("toy"), paths.features("threshold")} <= {*record.inputs}


def test_an_ensemble_is_compared_with_each_of_its_networks(folder, capsys):
    put_features("toy", likely={})
    put_features("threshold")
    record = calibrate.run(settings(scores=["class", "nearest", "duplicates"]), "ensemble")
    found = json.loads(paths.calibration("ensemble").read_text())
    names = ["toy_class", "toy_nearest", "duplicates", "threshold_class", "threshold_nearest"]
    assert list(found["weights"]) == names
    assert list(record.metrics)[:6] == [*(f"weight_{name}" for name in names), "bias"]
    compared = pd.read_csv(paths.scores("ensemble"), index_col="score")
    assert list(compared.index) == ["toy", "threshold", "without_duplicates", "all"]
    # alone in both, and not calibrated where another is the variant itself
    calibrate.run(settings(scores=["class", "nearest", "duplicates"]), "threshold")
    alone = pd.read_csv(paths.scores("threshold"), index_col="score")
    assert compared.loc["threshold"].tolist() == alone.loc["without_duplicates"].tolist()


def test_final_is_decided_as_the_ensemble_and_measured_on_the_solution_alone(folder, capsys):
    put_features("final/toy", likely={})
    put_features("final/threshold")
    paths.calibration("ensemble").parent.mkdir()
    weights = {"toy_class": 1.0, "duplicates": float(np.log(9)), "threshold_class": 1.0}
    said = {"weights": weights, "bias": -99.0, "calibration": NONE, "threshold_auto": 0.22}
    paths.calibration("ensemble").write_text(json.dumps(said))
    record, written, submission = run("final")
    assert "t2.jpg,w_b w_e new_whale w_a w_c" in submission
    assert written == pytest.approx(
        {
            "threshold": 0.22,
            "threshold_auto": 0.22,
            "solution_map5": (1 + 1 / 2 + 1 + 1 / 3) / 4,
            "solution_map5_no_duplicates": (1 + 1 + 1 / 3) / 3,
        },
        rel=1e-5,
    )
    assert record.params["calibrated_by"] == "ensemble"
    assert paths.calibration("ensemble") in record.inputs
    assert [path.name for path in paths.report("final").iterdir()] == ["report.html"]
    printed = "predict final: 4 queries at threshold 0.22, calibrated by ensemble, not validated; MAP@5 0.7083 on the "
    assert printed + "solution\n" == capsys.readouterr().out
    put(paths.SOLUTION, ["Image", "Id"], [])
    _, written, _ = run("final")
    assert written == {"threshold": 0.22, "threshold_auto": 0.22}


def test_duplicates_alone(folder):
    _, written, submission = run("phash", 0.22)
    assert submission == [
        "Image,Id",
        "t1.jpg,new_whale w_a w_b w_c w_d",
        "t2.jpg,w_b new_whale w_a w_c w_d",
        "t3.jpg,new_whale w_a w_b w_c w_d",
        "t4.jpg,new_whale w_a w_b w_c w_d",
    ]
    no_duplicates = 0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1
    assert points(written) == pytest.approx(
        {
            "map5": 1 / 4 * 1 + 3 / 4 * no_duplicates,
            "map5_known": (1 / 2 + 1 / 3) / 2,
            "map5_unknown": 1,
            "map5_duplicates": 1,
            "map5_no_duplicates": no_duplicates,
            "top1": 0,
            "top5": 1,
            "baks": 0,
            "baus": 1,
            "baks_baus": 0,
            "map5_new_whale": 1,
            "map5_new_whale_train": 1,
            "baseline_new_whale": 3 / 4 * 0.3,
            "baseline_duplicates": 1 / 4 * 1 + 3 / 4 * no_duplicates,
            "solution_map5": (1 / 4 + 0 + 1 + 1 / 2) / 4,
            "solution_map5_no_duplicates": (1 / 4 + 1 + 1 / 2) / 3,
        },
        rel=1e-5,
    )


def test_duplicates_that_name_no_whale_come_in_their_order(folder):
    leaks = [("t2.jpg", "n1.jpg", "new_whale", 0, 0.0), ("t2.jpg", "b1.jpg", "w_b", 2, 0.01)]
    put(paths.LEAKS, ["query", "photo", "Id", "distance", "error"], leaks)
    assert run("phash")[2][2] == "t2.jpg,new_whale w_b w_a w_c w_d"
    put(paths.LEAKS, ["query", "photo", "Id", "distance", "error"], leaks[::-1])
    assert run("phash")[2][2] == "t2.jpg,w_b new_whale w_a w_c w_d"


def test_a_new_whale_class_takes_probability_but_the_threshold_decides(folder):
    likely = {image: [0.3, 0.1, 0.05, 0.03, 0.02, 0.5] for image in PROBABILITIES}
    put_features("full", [*CLASSES, "new_whale"], likely)
    put_calibration("full", bias=0.0)
    put_validation("full", learnt=["new_whale_train"])
    _, _, submission = run("full", 0.4)  # w_a would have 0.6 without that class
    assert submission[1] == "t1.jpg,new_whale w_a w_b w_c w_d"
    _, _, submission = run("full", 0.2)  # and the class, at 0.5, does not put itself first
    assert submission[1] == "t1.jpg,w_a new_whale w_b w_c w_d"


def test_without_a_solution_there_is_nothing_to_grade(folder):
    put_features("toy")
    put_calibration("toy")
    put_validation("toy")
    put(paths.SOLUTION, ["Image", "Id"], [])
    _, written, _ = run("toy")
    assert not [key for key in written if key.startswith("solution")]


@pytest.mark.parametrize(("variant", "stage"), [("toy", "embed@toy"), ("final/toy", "embed-final@toy")])
def test_features_that_do_not_cover_the_photos_are_refused(folder, variant, stage):
    put_features(variant)
    with pytest.raises(InputProblems, match=f"dvc repro {stage}") as error:
        features.load([variant], ["t1.jpg", "t9.jpg"])
    assert error.value.where == ["t9.jpg"]


def test_calibration_leaves_a_decision_and_answers_that_it_was_not_fitted_on(folder, capsys):
    put_features("threshold")
    record = calibrate.run(settings(), "threshold")
    found = json.loads(paths.calibration("threshold").read_text())
    assert list(found) == ["weights", "bias", "calibration", "threshold_auto", "thresholds"]
    assert list(found["weights"]) == ["class", "duplicates"]
    assert found["calibration"] == NONE  # of so few queries
    answers = files.read_csv(paths.validation("threshold"))
    labels = [f"label{place}" for place in range(1, 6)]
    probabilities = [f"probability{place}" for place in range(1, 6)]
    assert [*answers] == [
        *["Image", "whale", "role", "truth", "part", "threshold"],
        *[*labels, *probabilities, "uncalibrated", "centroid"],
    ]
    roles = {**ROLES, "n1.jpg": "new_whale_train"}
    assert answers["Image"].tolist() == sorted(roles)
    assert dict(zip(answers["Image"], answers["role"], strict=True)) == roles
    assert answers["whale"].tolist() == ["w_a", "w_b", "w_c", "new_whale", "new_whale", "w_u"]
    assert answers["truth"].tolist() == ["w_a", "w_b", "w_c", "new_whale", "new_whale", "new_whale"]
    assert answers[labels].to_numpy()[0].tolist() == ["w_a", "w_b", "w_c", "w_d", "w_e"]
    assert (np.diff(answers[probabilities].to_numpy(), axis=1) <= 0).all()
    assert set(answers["threshold"]) <= set(found["thresholds"])
    assert answers["uncalibrated"].tolist() == answers["probability1"].tolist()
    assert answers["centroid"].tolist()[3:] == [0, 0, 0]

    curve = pd.read_csv(paths.threshold_curve("threshold"))
    assert list(curve) == ["threshold", "map5", "map5_known", "map5_unknown"]
    assert len(curve) == 201
    # whatever the weight: at 0 every whale comes before new_whale, at 1 none
    first, last = curve.iloc[0], curve.iloc[-1]
    assert [first["map5_known"], first["map5_unknown"]] == pytest.approx([(1 + 1 / 2) / 2, 0])
    assert [last["map5_known"], last["map5_unknown"]] == pytest.approx([(1 / 2 + 1 / 3) / 2, 1], rel=1e-5)
    assert last["map5"] == pytest.approx(0.7 * (1 / 2 + 1 / 3) / 2 + 0.3, rel=1e-5)
    assert "calibrate threshold: class " in capsys.readouterr().out
    said = {"variant": "threshold", "unknown_share": 0.3, "scores": "class duplicates", "calibration": "none"}
    said["neighbours"] = "exact"
    assert record.params == said
    assert {paths.calibration("threshold"), paths.validation("threshold")} == {*record.outputs}

    # predict measures the same: at a number what the curve has there, at auto what each part had of the others
    for threshold in (0.1, 0.3, 0.55):
        written = run("threshold", threshold)[1]
        at = curve[np.isclose(curve["threshold"], threshold)].iloc[0]
        for figure, column in (("map5_no_duplicates", "map5"), *((key, key) for key in ("map5_known", "map5_unknown"))):
            assert written[figure] == pytest.approx(at[column], rel=1e-5)
    written = run("threshold")[1]
    assert written["threshold"] == found["threshold_auto"]
    assert written["map5_no_duplicates"] == pytest.approx(record.metrics["map5_auto"], rel=1e-5)
    compared = pd.read_csv(paths.scores("threshold"), index_col="score")
    assert compared.loc["all"].to_dict() == {key: written[key] for key in compared.columns}
    assert record.metrics["map5_no_duplicates_all"] == pytest.approx(written["map5_no_duplicates"], rel=1e-5)
    figures = ("map5", "map5_no_duplicates", "map5_known")
    assert [*record.metrics] == [
        *["weight_class", "weight_duplicates", "bias"],
        *["threshold_auto", "threshold_auto_low", "threshold_auto_high", "map5_auto"],
        *(f"{key}_{score}" for score in ("class", "all") for key in figures),
    ]


@pytest.mark.parametrize(
    ("scores", "compared"),
    [
        (["class"], ["class"]),
        (["duplicates"], ["duplicates"]),
        (["class", "nearest"], ["class", "nearest", "all"]),
        (["duplicates", "class"], ["class", "all"]),
        (
            ["class", "nearest", "centroid", "duplicates"],
            ["class", "nearest", "centroid", "without_duplicates", "all"],
        ),
    ],
)
def test_scores_are_compared_alone_and_together(folder, scores, compared):
    put_features("toy")
    record = calibrate.run(settings(scores=scores), "toy")
    table = pd.read_csv(paths.scores("toy"))
    assert list(table) == ["score", "map5", "map5_no_duplicates", "map5_known"]
    assert table["score"].tolist() == compared
    assert [key for key in record.metrics if key.startswith("weight_")] == [f"weight_{name}" for name in scores]
    figures = [f"map5_no_duplicates_{name}" for name in compared]
    assert [record.metrics[figure] for figure in figures] == pytest.approx(
        table["map5_no_duplicates"].tolist(), rel=1e-5
    )
    alone = calibrate.run(settings(scores=compared[:1]), "toy")
    assert alone.metrics[figures[0]] == record.metrics[figures[0]]


@pytest.mark.parametrize(
    ("likely", "look"),
    [
        ([0.2, 0.2, 0.2, 0.2, 0.2], -9.0),
        ([0.96, 0.01, 0.01, 0.01, 0.01], 0.0),  # so surely w_a that a weight or a threshold would give way
        ([0.01, 0.96, 0.01, 0.01, 0.01], 9.0),  # and w_b, in the look of the photos held out
    ],
)
def test_new_whale_photos_of_the_training_part_count_for_nothing_else(folder, likely, look):
    images = [f"n{number}.jpg" for number in (1, *range(3, 9))]
    split = pd.read_csv(paths.SPLIT)
    split = split[split["Image"] != "n1.jpg"]
    more = pd.DataFrame({"Image": images, "Id": "new_whale", "part": "train", "role": "catalogue"})
    put_features("toy", likely=PROBABILITIES | dict.fromkeys(images, likely), looks=LOOKS | dict.fromkeys(images, look))

    def left(split):
        """Return what calibrate and predict leave."""
        split.to_csv(paths.SPLIT, index=False)
        calibrate.run(settings(scores=["class", "nearest", "centroid", "duplicates"]), "toy")
        _, written, submission = run("toy")
        of_calibrate = [paths.calibration("toy"), paths.threshold_curve("toy"), paths.scores("toy")]
        return written, submission, [path.read_text() for path in of_calibrate]

    without, with_more = left(split), left(pd.concat([split, more]))
    # each photo at the threshold of its part
    assert with_more[0].pop("map5_new_whale_train") > 0
    del with_more[0]["map5_new_whale_train_low"], with_more[0]["map5_new_whale_train_high"]
    assert with_more == without


def test_a_variant_that_has_learnt_none_of_the_whales_compares_photos(folder):
    put_features("toy", ["w_x", "w_y"], {})
    calibrate.run(settings(scores=["class", "nearest"]), "toy")
    compared = pd.read_csv(paths.scores("toy"), index_col="score")
    assert compared.loc["class"].tolist() == compared.loc["nearest"].tolist()


def test_predict_starts_without_heavy_libraries():
    heavy = ["torch", "torchvision", "scipy", "sklearn", "mlflow"]
    code = f"import sys, whaleid.stages.predict; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
