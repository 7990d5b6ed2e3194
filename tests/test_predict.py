"""Stages calibrate and predict on a hand-made folder: every figure can be worked out from the tables here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from whaleid import params, paths
from whaleid.errors import InputProblems
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


def put_calibration(variant, threshold_auto=0.65, bias=-99.0, **weights):
    """With a weight of 1 the class scores are the logits; that of new_whale is out of the way."""
    weights = {f"weight_{name}": weight for name, weight in ({"class": 1.0} | weights).items()}
    paths.calibration(variant).parent.mkdir(exist_ok=True)
    paths.calibration(variant).write_text(json.dumps({**weights, "bias": bias, "threshold_auto": threshold_auto}))


def settings(threshold="auto", scores=("class", "duplicates")):
    yaml = YAML()
    values = yaml.load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    values["threshold"] = threshold
    values["ensemble"] = ["toy", "threshold"]
    values["split"]["unknown_share"] = 0.3
    for variant in values["variants"].values():
        variant["scores"] = list(scores)
    with paths.PARAMS.open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    return params.load(paths.PARAMS)


def run(variant, threshold="auto"):
    record = predict.run(settings(threshold), variant)
    written = json.loads(paths.metrics(variant).read_text())
    assert written == pytest.approx(record.metrics, rel=1e-5)
    return record, written, paths.submission(variant).read_text().splitlines()


def test_a_network_and_duplicates(folder):
    put_features("threshold")
    put_calibration("threshold", duplicates=float(np.log(9)))  # nine times as likely
    record, written, submission = run("threshold", 0.22)
    assert submission == [
        "Image,Id",
        "t1.jpg,w_c new_whale w_a w_b w_d",
        "t2.jpg,w_b w_e new_whale w_a w_c",  # 0.9 and 0.5 of 1.8
        "t3.jpg,new_whale w_a w_b w_c w_d",
        "t4.jpg,w_d new_whale w_a w_b w_c",
    ]
    no_duplicates = 0.7 * (1 + 1 / 2) / 2 + 0.3 * (1 / 2 + 1 / 3) / 2
    assert written == pytest.approx(
        {
            "threshold": 0.22,
            "threshold_auto": 0.65,
            "map5": 1 / 4 * 1 + 3 / 4 * no_duplicates,  # one query of four is a leak
            "map5_known": (1 + 1 / 2) / 2,
            "map5_unknown": 1 / 3,
            "map5_new_whale": 1 / 2,
            "map5_new_whale_train": 1,
            "map5_duplicates": 1,
            "map5_no_duplicates": no_duplicates,
            "top1": 0.5,
            "top5": 1,
            "solution_map5": (1 + 1 / 2 + 1 + 1 / 3) / 4,
            "solution_map5_no_duplicates": (1 + 1 + 1 / 3) / 3,
        },
        rel=1e-5,
    )
    assert record.params == {"variant": "threshold", "threshold": 0.22, "scores": "class duplicates"}
    assert {paths.features("threshold"), paths.calibration("threshold"), paths.LEAKS} <= {*record.inputs}
    assert record.outputs == [paths.submission("threshold")]


def test_a_network_on_its_own_does_not_look_at_duplicates(folder):
    put_features("toy")
    put_calibration("toy")
    record, written, submission = run("toy", 0.22)
    assert "t2.jpg,w_e w_a new_whale w_b w_c" in submission
    assert written["map5_duplicates"] == 1 / 4
    assert record.params["scores"] == "class"


def test_queries_are_compared_with_whales_that_validation_held_out(folder):
    put_features("toy", looks={"u1.jpg": 9.0, **dict.fromkeys(TEST, -9.0), "t4.jpg": 9.0})
    put_calibration("toy")
    _, written, submission = run("toy", 0.22)
    assert [line.split()[0] for line in submission[1:]] == [
        "t1.jpg,w_c",
        "t2.jpg,w_e",
        "t3.jpg,new_whale",
        "t4.jpg,w_u",
    ]
    assert written["map5_unknown"] == pytest.approx(1 / 3, rel=1e-5)  # validation itself is not


def test_blocks_of_queries_give_what_all_at_once_give(folder, monkeypatch):
    put_features("toy")
    put_calibration("toy", nearest=0.5, centroid=0.1, duplicates=1.0)
    whole = run("toy", 0.22)[1:]
    monkeypatch.setattr(features, "BLOCK", 3)
    assert run("toy", 0.22)[1:] == whole


def test_an_ensemble_weighs_the_scores_of_both_networks(folder):
    flattened = {image: np.sqrt(likely) / np.sqrt(likely).sum() for image, likely in PROBABILITIES.items()}
    put_features("toy", likely=flattened)
    put_features("threshold", [*CLASSES[::-1], "new_whale"], {i: [*p[::-1], 1.0] for i, p in flattened.items()})
    # the square roots of probabilities, multiplied, are the probabilities again
    weights = {"weight_toy_class": 1.0, "weight_duplicates": float(np.log(9)), "weight_threshold_class": 1.0}
    paths.calibration("ensemble").parent.mkdir()
    paths.calibration("ensemble").write_text(json.dumps({**weights, "bias": -99.0, "threshold_auto": 0.22}))
    record, written, submission = run("ensemble")
    put_features("margin")
    put_calibration("margin", threshold_auto=0.22, duplicates=float(np.log(9)))
    _, alone, expected = run("margin")
    assert submission == expected
    assert written.items() <= alone.items()
    assert alone.keys() - written.keys() == {"map5_new_whale_train"}  # one of the networks has learnt those photos
    assert record.params == {
        "variant": "ensemble",
        "threshold": "auto",
        "scores": "toy_class duplicates threshold_class",
    }
    assert {paths.features("toy"), paths.features("threshold")} <= {*record.inputs}


def test_an_ensemble_is_compared_with_each_of_its_networks(folder, capsys):
    put_features("toy", likely={})
    put_features("threshold")
    calibrate.run(settings(scores=["class", "nearest", "duplicates"]), "ensemble")
    found = json.loads(paths.calibration("ensemble").read_text())
    names = ["toy_class", "toy_nearest", "duplicates", "threshold_class", "threshold_nearest"]
    assert list(found)[:6] == [*(f"weight_{name}" for name in names), "bias"]
    compared = pd.read_csv(paths.scores("ensemble"), index_col="score")
    assert list(compared.index) == ["toy", "threshold", "without_duplicates", "all"]
    calibrate.run(settings(scores=["class", "nearest"]), "threshold")
    alone = pd.read_csv(paths.scores("threshold"), index_col="score")
    assert compared.loc["threshold"].tolist() == alone.loc["all"].tolist()


def test_final_is_decided_as_the_ensemble_and_measured_on_the_solution_alone(folder, capsys):
    put_features("final/toy", likely={})
    put_features("final/threshold")
    paths.calibration("ensemble").parent.mkdir()
    weights = {"weight_toy_class": 1.0, "weight_duplicates": float(np.log(9)), "weight_threshold_class": 1.0}
    paths.calibration("ensemble").write_text(json.dumps({**weights, "bias": -99.0, "threshold_auto": 0.22}))
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
    said = "predict final: 4 queries at threshold 0.22, calibrated by ensemble, not validated; MAP@5 0.7083 on the "
    assert said + "solution\n" == capsys.readouterr().out
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
    assert written == pytest.approx(
        {
            "map5": 1 / 4 * 1 + 3 / 4 * no_duplicates,
            "map5_known": (1 / 2 + 1 / 3) / 2,
            "map5_unknown": 1,
            "map5_new_whale": 1,
            "map5_new_whale_train": 1,
            "map5_duplicates": 1,
            "map5_no_duplicates": no_duplicates,
            "top1": 0,
            "top5": 1,
            "solution_map5": (1 / 4 + 0 + 1 + 1 / 2) / 4,
            "solution_map5_no_duplicates": (1 / 4 + 1 + 1 / 2) / 3,
        },
        rel=1e-5,
    )


def test_auto_takes_the_threshold_of_calibration(folder):
    put_features("toy")
    put_calibration("toy")
    record, written, _ = run("toy")
    assert record.params["threshold"] == "auto"
    assert written["threshold"] == 0.65
    assert written["map5_unknown"] == 1


def test_a_new_whale_class_takes_probability_but_the_threshold_decides(folder):
    likely = {image: [0.3, 0.1, 0.05, 0.03, 0.02, 0.5] for image in PROBABILITIES}
    put_features("full", [*CLASSES, "new_whale"], likely)
    put_calibration("full", bias=0.0)
    _, _, submission = run("full", 0.4)  # w_a would have 0.6 without that class
    assert submission[1] == "t1.jpg,new_whale w_a w_b w_c w_d"
    _, written, submission = run("full", 0.2)  # and the class, at 0.5, does not put itself first
    assert submission[1] == "t1.jpg,w_a new_whale w_b w_c w_d"
    assert written["map5_new_whale"] == 1 / 2
    assert "map5_new_whale_train" not in written  # it has learnt those photos


def test_without_a_solution_there_is_nothing_to_grade(folder):
    put_features("toy")
    put_calibration("toy")
    put(paths.SOLUTION, ["Image", "Id"], [])
    _, written, _ = run("toy")
    assert not [key for key in written if key.startswith("solution")]


@pytest.mark.parametrize(("variant", "stage"), [("toy", "embed@toy"), ("final/toy", "embed-final@toy")])
def test_features_that_do_not_cover_the_photos_are_refused(folder, variant, stage):
    put_features(variant)
    with pytest.raises(InputProblems, match=f"dvc repro {stage}") as error:
        features.load([variant], ["t1.jpg", "t9.jpg"])
    assert error.value.where == ["t9.jpg"]


def test_calibration_finds_weights_and_threshold(folder, capsys):
    put_features("threshold")
    record = calibrate.run(settings(), "threshold")
    found = json.loads(paths.calibration("threshold").read_text())
    assert list(found) == ["weight_class", "weight_duplicates", "bias", "threshold_auto", "map5_auto"]
    curve = pd.read_csv(paths.threshold_curve("threshold"))
    assert list(curve) == ["threshold", "map5", "map5_known", "map5_unknown"]
    assert len(curve) == 201
    # whatever the weight: at 0 every whale comes before new_whale, at 1 none
    first, last = curve.iloc[0], curve.iloc[-1]
    assert [first["map5_known"], first["map5_unknown"]] == pytest.approx([(1 + 1 / 2) / 2, 0])
    assert [last["map5_known"], last["map5_unknown"]] == pytest.approx([(1 / 2 + 1 / 3) / 2, 1], rel=1e-5)
    assert last["map5"] == pytest.approx(0.7 * (1 / 2 + 1 / 3) / 2 + 0.3, rel=1e-5)
    assert found["map5_auto"] == curve["map5"].max()
    at_auto = curve["map5"][np.isclose(curve["threshold"], found["threshold_auto"])]
    assert at_auto.tolist() == [found["map5_auto"]]
    assert "calibrate threshold: class " in capsys.readouterr().out
    assert record.params == {"variant": "threshold", "unknown_share": 0.3, "scores": "class duplicates"}

    # predict measures the same there
    _, written, _ = run("threshold")
    assert written["threshold"] == found["threshold_auto"]
    assert written["map5_no_duplicates"] == pytest.approx(found["map5_auto"], rel=1e-5)
    compared = pd.read_csv(paths.scores("threshold"), index_col="score")
    assert compared.loc["all"].to_dict() == {key: written[key] for key in compared.columns}
    assert record.metrics["map5_no_duplicates_all"] == pytest.approx(written["map5_no_duplicates"], rel=1e-5)
    figures = ("map5", "map5_no_duplicates", "map5_known")
    assert record.metrics.keys() - found.keys() == {f"{key}_{score}" for key in figures for score in ("class", "all")}


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
    ("likely", "look", "expected"),
    [
        ([0.2, 0.2, 0.2, 0.2, 0.2], -9.0, 1),
        ([0.96, 0.01, 0.01, 0.01, 0.01], 0.0, 1 / 2),  # so surely w_a that a weight or a threshold would give way
        ([0.01, 0.96, 0.01, 0.01, 0.01], 9.0, 1 / 2),  # and w_b, in the look of the photos held out
    ],
)
def test_new_whale_photos_of_the_training_part_count_for_nothing_else(folder, likely, look, expected):
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
    assert with_more[0].pop("map5_new_whale_train") == expected
    assert with_more == without


def test_a_variant_that_has_learnt_none_of_the_whales_compares_photos(folder):
    put_features("toy", ["w_x", "w_y"], {})
    calibrate.run(settings(scores=["class", "nearest"]), "toy")
    compared = pd.read_csv(paths.scores("toy"), index_col="score")
    assert compared.loc["class"].tolist() == compared.loc["nearest"].tolist()


def test_predict_starts_without_heavy_libraries():
    heavy = ["torch", "torchvision", "scipy", "sklearn", "matplotlib", "mlflow"]
    code = f"import sys, whaleid.stages.predict; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
