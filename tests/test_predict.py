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
from whaleid.stages import calibrate, predict

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


def put_features(variant, classes=CLASSES, likely=PROBABILITIES, threshold_auto=0.65):
    """Logarithms of probabilities as embeddings and one class an axis: the softmax gives the probabilities back."""
    images = [*TRAIN, *TEST]
    embeddings = np.log([likely.get(image, [1 / len(classes)] * len(classes)) for image in images])
    paths.features(variant).parent.mkdir()
    np.savez(
        paths.features(variant),
        images=np.array(images),
        embeddings=embeddings.astype(np.float32),
        centres=np.eye(len(classes), dtype=np.float32),
        classes=np.array(classes),
        scale=np.float32(1),
    )
    paths.calibration(variant).parent.mkdir()
    paths.calibration(variant).write_text(json.dumps({"temperature": 1.0, "threshold_auto": threshold_auto}))


def settings(threshold="auto"):
    yaml = YAML()
    values = yaml.load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    values["threshold"] = threshold
    values["split"]["unknown_share"] = 0.3
    with paths.PARAMS.open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    return params.load(paths.PARAMS)


def run(variant, threshold="auto"):
    record = predict.run(settings(threshold), variant)
    written = json.loads(paths.metrics(variant).read_text())
    assert written == pytest.approx(record.metrics, rel=1e-5)
    return record, written, paths.submission(variant).read_text().splitlines()


def test_a_network_that_is_combined_with_duplicates(folder):
    put_features("threshold")
    record, written, submission = run("threshold", 0.22)
    assert submission == [
        "Image,Id",
        "t1.jpg,w_c new_whale w_a w_b w_d",
        "t2.jpg,w_b w_e w_a new_whale w_c",
        "t3.jpg,new_whale w_a w_b w_c w_d",
        "t4.jpg,w_d new_whale w_a w_b w_c",
    ]
    no_duplicates = 0.7 * (1 + 1 / 2) / 2 + 0.3 * (1 + 1 / 2 + 1 / 3) / 3
    assert written == pytest.approx(
        {
            "threshold": 0.22,
            "threshold_auto": 0.65,
            "map5": 1 / 4 * 1 + 3 / 4 * no_duplicates,  # one query of four is a leak
            "map5_known": (1 + 1 / 2) / 2,
            "map5_unknown": 1 / 3,
            "map5_new_whale": (1 + 1 / 2) / 2,
            "map5_duplicates": 1,
            "map5_no_duplicates": no_duplicates,
            "top1": 0.5,
            "top5": 1,
            "solution_map5": (1 + 1 / 2 + 1 + 1 / 3) / 4,
            "solution_map5_no_duplicates": (1 + 1 + 1 / 3) / 3,
        },
        rel=1e-5,
    )
    assert record.params == {"variant": "threshold", "threshold": 0.22, "leaks": True}
    assert {paths.features("threshold"), paths.calibration("threshold"), paths.LEAKS} <= {*record.inputs}
    assert record.outputs == [paths.submission("threshold")]


def test_a_network_on_its_own_does_not_look_at_duplicates(folder):
    put_features("toy")
    _, written, submission = run("toy", 0.22)
    assert "t2.jpg,w_e w_a new_whale w_b w_c" in submission
    assert written["map5_duplicates"] == 1 / 4


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
    record, written, _ = run("toy")
    assert record.params["threshold"] == "auto"
    assert written["threshold"] == 0.65
    assert written["map5_unknown"] == 1


def test_a_new_whale_class_takes_probability_but_the_threshold_decides(folder):
    likely = {image: [0.3, 0.1, 0.05, 0.03, 0.02, 0.5] for image in PROBABILITIES}
    put_features("full", [*CLASSES, "new_whale"], likely)
    _, _, submission = run("full", 0.4)  # w_a would have 0.6 without that class
    assert submission[1] == "t1.jpg,new_whale w_a w_b w_c w_d"
    _, written, submission = run("full", 0.2)  # and the class, at 0.5, does not put itself first
    assert submission[1] == "t1.jpg,w_a new_whale w_b w_c w_d"
    assert written["map5_new_whale"] == 1 / 2


def test_without_a_solution_there_is_nothing_to_grade(folder):
    put_features("toy")
    put(paths.SOLUTION, ["Image", "Id"], [])
    _, written, _ = run("toy")
    assert not [key for key in written if key.startswith("solution")]


def test_features_that_do_not_cover_the_photos_are_refused(folder):
    put_features("toy")
    put(paths.CATALOG, ["Image", "Id", "part"], [("t1.jpg", "", "test"), ("t9.jpg", "", "test")])
    with pytest.raises(InputProblems, match="dvc repro embed@toy") as error:
        predict.run(settings(), "toy")
    assert error.value.where == ["t9.jpg"]


def test_calibration_finds_temperature_and_threshold(folder, capsys):
    put_features("threshold")
    record = calibrate.run(settings(), "threshold")
    found = json.loads(paths.calibration("threshold").read_text())
    curve = pd.read_csv(paths.threshold_curve("threshold"))
    assert list(curve) == ["threshold", "map5", "map5_known", "map5_unknown"]
    assert len(curve) == 201
    # whatever the temperature: at 0 every whale comes before new_whale, at 1 none
    first, last = curve.iloc[0], curve.iloc[-1]
    assert [first["map5_known"], first["map5_unknown"]] == pytest.approx([(1 + 1 / 2) / 2, 0])
    assert [last["map5_known"], last["map5_unknown"]] == pytest.approx([(1 / 2 + 1 / 3) / 2, 1], rel=1e-5)
    assert last["map5"] == pytest.approx(0.7 * (1 / 2 + 1 / 3) / 2 + 0.3, rel=1e-5)
    assert found == pytest.approx(record.metrics, rel=1e-5)
    assert found["map5_auto"] == curve["map5"].max()
    at_auto = curve["map5"][np.isclose(curve["threshold"], found["threshold_auto"])]
    assert at_auto.tolist() == [found["map5_auto"]]
    assert "calibrate threshold: temperature" in capsys.readouterr().out

    # predict measures the same there
    _, written, _ = run("threshold")
    assert written["threshold"] == found["threshold_auto"]
    assert written["map5_no_duplicates"] == pytest.approx(found["map5_auto"], rel=1e-5)


def test_temperature_is_1_where_no_query_shows_a_class(folder):
    put_features("toy", ["w_x", "w_y"], {})
    calibrate.run(settings(), "toy")
    assert json.loads(paths.calibration("toy").read_text())["temperature"] == 1


def test_predict_starts_without_heavy_libraries():
    heavy = ["torch", "torchvision", "scipy", "sklearn", "matplotlib", "mlflow"]
    code = f"import sys, whaleid.stages.predict; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
