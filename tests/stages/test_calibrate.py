"""Stage `calibrate` on hand-made files: the decision, the held-out answers, and the figures of `predict`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.handmade import (
    CLASS_PROBABILITIES,
    EXTRA_DIMENSION,
    IDENTITY,
    ROLES,
    single_networks,
    write_features,
    write_settings,
    write_tables,
)

from whaleid.core import features, files, paths
from whaleid.core.errors import InputProblems
from whaleid.core.record import Record
from whaleid.stages import calibrate, predict, rank

ALL = ["class", "nearest", "centroid", "duplicates"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_tables()
    return tmp_path


def predict_figures(variant: str, threshold: float | str = "auto", scores: tuple[str, ...] = ("class", "duplicates")):
    """Run `rank` and `predict` for a calibrated variant; return its figures at a threshold."""
    params = write_settings(single_networks(variant), threshold, scores)
    rank.run(params)
    predict.run(params)
    return json.loads(paths.figures(variant).read_text())


def test_outputs_of_a_calibration(capsys):
    write_features("threshold")
    record = calibrate.run(write_settings(), "threshold")
    outputs = Path("calibrations/threshold")
    assert sorted(path.name for path in outputs.iterdir()) == [
        *["decision.json", "scores.csv", "threshold.csv", "validation.csv"]
    ]
    result = json.loads((outputs / "decision.json").read_text())
    assert list(result) == ["weights", "bias", "calibration", "threshold_auto", "thresholds"]
    assert list(result["weights"]) == ["class", "duplicates"]
    assert result["calibration"] == IDENTITY  # there are too few queries to fit a calibration
    answers = files.read_csv(outputs / "validation.csv")
    labels = [f"label{k}" for k in range(1, 6)]
    probabilities = [f"probability{k}" for k in range(1, 6)]
    assert [*answers] == [
        *["Image", "whale", "role", "truth", "fold", "cluster", "threshold"],
        *[*labels, *probabilities, "uncalibrated", "centroid"],
    ]
    roles = {**ROLES, "n1.jpg": "new_whale_train"}
    assert answers["Image"].tolist() == sorted(roles)
    assert dict(zip(answers["Image"], answers["role"], strict=True)) == roles
    assert answers["whale"].tolist() == ["w_a", "w_b", "w_c", "new_whale", "new_whale", "w_u"]
    assert answers["truth"].tolist() == ["w_a", "w_b", "w_c", "new_whale", "new_whale", "new_whale"]
    assert answers[labels].to_numpy()[0].tolist() == ["w_a", "w_b", "w_c", "w_d", "w_e"]
    assert (np.diff(answers[probabilities].to_numpy(), axis=1) <= 0).all()
    assert set(answers["threshold"]) <= set(result["thresholds"])
    # one cluster per whale, and per photo labelled new_whale, numbered in order of appearance
    assert answers["cluster"].tolist() == [0, 1, 2, 3, 4, 5]
    assert answers["uncalibrated"].tolist() == answers["probability1"].tolist()
    assert answers["centroid"].tolist()[3:] == [0, 0, 0]

    curve = pd.read_csv(outputs / "threshold.csv")
    assert list(curve) == ["threshold", "map5", "map5_known", "map5_unknown"]
    assert len(curve) == 201
    # for any weights, all whales rank before new_whale at threshold 0, and none at threshold 1
    first, last = curve.iloc[0], curve.iloc[-1]
    assert [first["map5_known"], first["map5_unknown"]] == pytest.approx([(1 + 1 / 2) / 2, 0])
    assert [last["map5_known"], last["map5_unknown"]] == pytest.approx([(1 / 2 + 1 / 3) / 2, 1], rel=1e-5)
    assert last["map5"] == pytest.approx(0.7 * (1 / 2 + 1 / 3) / 2 + 0.3, rel=1e-5)
    assert capsys.readouterr().out.startswith("calibrate threshold: weights class ")
    assert record.params == {"variant": "threshold", "unknown_share": 0.3, "scores": "class duplicates"}
    assert record.outputs == [outputs / "decision.json", outputs / "validation.csv"]
    assert record.artifacts == [outputs / "threshold.csv", outputs / "scores.csv"]
    assert record.inputs == [Path("features/threshold.npz"), paths.GROUPS, paths.LEAKS]
    assert record.dataset == paths.SPLIT

    # predict computes the same: at a number the value of the curve, at auto that of the threshold of each fold
    for threshold in (0.1, 0.3, 0.55):
        written = predict_figures("threshold", threshold)
        point = curve[np.isclose(curve["threshold"], threshold)].iloc[0]
        for figure, column in (("map5_no_duplicates", "map5"), *((key, key) for key in ("map5_known", "map5_unknown"))):
            assert written[figure] == pytest.approx(point[column], rel=1e-5)
    written = predict_figures("threshold")
    assert written["threshold"] == result["threshold_auto"]
    assert written["map5_no_duplicates"] == pytest.approx(record.metrics["map5_auto"], rel=1e-5)
    compared = pd.read_csv(outputs / "scores.csv", index_col="score")
    assert compared.loc["all"].to_dict() == {key: written[key] for key in compared.columns}
    assert record.metrics["map5_no_duplicates_all"] == pytest.approx(written["map5_no_duplicates"], rel=1e-5)
    figures = ("map5", "map5_no_duplicates", "map5_known")
    assert [*record.metrics] == [
        *["weight_class", "weight_duplicates", "bias", "calibration_slope", "calibration_intercept"],
        *["threshold_auto", "threshold_auto_low", "threshold_auto_high", "map5_auto"],
        *(f"{key}_{score}" for score in ("class", "all") for key in figures),
    ]


def test_a_variant_trained_on_validation_photos_is_not_calibrated(capsys):
    assert calibrate.run(write_settings(), "final") == Record()  # there are no features, so it fails if it reads any
    assert json.loads(Path("calibrations/final/decision.json").read_text()) == {"validated": False}
    assert capsys.readouterr().out == (
        "calibrate final: not calibrated, because it is trained on the validation photos (learn: all)\n"
    )


@pytest.mark.parametrize(
    ("probabilities", "position"),
    [
        pytest.param([0.2, 0.2, 0.2, 0.2, 0.2], -9.0, marks=pytest.mark.long),
        # a high probability of w_a, which would change weights or threshold if these photos counted
        pytest.param([0.96, 0.01, 0.01, 0.01, 0.01], 0.0, marks=pytest.mark.long),
        # a high probability of w_b, and an embedding close to those of held-out photos
        ([0.01, 0.96, 0.01, 0.01, 0.01], 9.0),
    ],
)
def test_new_whale_photos_in_training_affect_only_their_own_metric(probabilities, position):
    images = [f"n{number}.jpg" for number in (1, *range(3, 9))]
    split = pd.read_csv(paths.SPLIT)
    split = split[split["Image"] != "n1.jpg"]
    more = pd.DataFrame({"Image": images, "Id": "new_whale", "part": "train", "role": "catalogue"})
    write_features(
        "toy",
        probabilities=CLASS_PROBABILITIES | dict.fromkeys(images, probabilities),
        extra=EXTRA_DIMENSION | dict.fromkeys(images, position),
    )

    def run_stages(split):
        """Return the figures and the files that calibrate and predict write."""
        split.to_csv(paths.SPLIT, index=False)
        calibrate.run(write_settings(scores=ALL), "toy")
        figures = predict_figures("toy", scores=ALL)
        calibration_files = [paths.calibration("toy") / name for name in (paths.DECISION, paths.CURVE, paths.SCORES)]
        return figures, [path.read_text() for path in [*calibration_files, paths.submission("toy")]]

    without, with_more = run_stages(split), run_stages(pd.concat([split, more]))
    # these photos are measured at the threshold of their fold
    assert with_more[0].pop("map5_new_whale_train") > 0
    del with_more[0]["map5_new_whale_train_low"], with_more[0]["map5_new_whale_train_high"]
    assert with_more == without


def test_features_must_cover_the_photos():
    write_features("final")
    # the message names the file, which is named after the variant
    with pytest.raises(InputProblems, match=r"(?s)missing from features/final\.npz.*`dvc repro embed@final`") as error:
        features.load({"margin": "final"}, ["t1.jpg", "t9.jpg"])
    assert error.value.locations == ["t9.jpg"]
