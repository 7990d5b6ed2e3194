"""Stage `predict` on hand-made files: five labels at a threshold, and all figures computed by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.handmade import (
    CLASS_PROBABILITIES,
    CLASSES,
    IDENTITY,
    LOG_9,
    SOLUTION,
    single_networks,
    write_calibration,
    write_features,
    write_leaks,
    write_rows,
    write_settings,
    write_tables,
    write_validation,
)
from helpers.project import ROOT
from PIL import Image

from whaleid.core import paths
from whaleid.core.record import Record, Report
from whaleid.stages import predict, rank

FINAL = {"final": {"networks": ["final"], "calibrated_by": "threshold"}}
FOLDERS = ("submissions", "reports/figures", "reports/curves")


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the rankings of `phash`, `toy`, `threshold` and `final`, but not the inputs of `rank`."""
    folder = tmp_path_factory.mktemp("ranked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_tables()
        for network in ("toy", "threshold", "final"):
            write_features(network)
        write_calibration("toy")
        write_validation("toy", thresholds=[0.22, 0.65])
        write_calibration("threshold", duplicates=LOG_9)  # odds are multiplied by nine
        write_validation("threshold", boosted=["c2.jpg"], thresholds=[0.61, 0.65, 0.7])
        rank.run(write_settings({**single_networks("phash", "toy", "threshold"), **FINAL}))
        for name in ("features", "calibrations", "data/catalog.csv", "data/split.csv", "data/dedup"):
            (folder / name).rename(folder / f"{Path(name).name}-gone")
    return folder


@pytest.fixture
def in_project(ranked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ranked)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder that contains only the tables of the catalogue."""
    monkeypatch.chdir(tmp_path)
    write_tables()


def run(prediction: str, threshold: float | str = "auto") -> tuple[Record, dict, list[str]]:
    """Run the stage; return the record, the figures and the submission."""
    predictions = {**single_networks("threshold"), **FINAL} if prediction == "final" else single_networks(prediction)
    return outputs(predict.run(write_settings(predictions, threshold)), prediction)


def outputs(records: dict[str, Record], prediction: str) -> tuple[Record, dict, list[str]]:
    record = records[prediction]
    written = json.loads((Path("reports/figures") / f"{prediction}.json").read_text())
    assert written == pytest.approx(record.metrics, rel=1e-5)
    return record, written, (Path("submissions") / f"{prediction}.csv").read_text().splitlines()


def points(written: dict[str, float]) -> dict[str, float]:
    """Return the figures without their intervals; assert that each interval contains its figure."""
    result = {}
    for key, value in written.items():
        if key.endswith(("_low", "_high")) and not key.startswith("threshold"):
            low, high = written[key.removesuffix("_high").removesuffix("_low")], value
            assert low <= high if key.endswith("_high") else high <= low, key
        else:
            result[key] = value
    return result


def test_a_network_and_duplicates(in_project, capsys):
    record, written, submission = run("threshold", 0.22)
    assert submission == [
        "Image,Id",
        "t1.jpg,w_c new_whale w_a w_b w_d",
        "t2.jpg,w_b w_e new_whale w_a w_c",  # 0.9 and 0.5 of 1.8
        "t3.jpg,new_whale w_a w_b w_c w_d",
        "t4.jpg,w_d new_whale w_a w_b w_c",
    ]
    no_duplicates = 0.7 * (1 + 1 / 2) / 2 + 0.3 * 1 / 3
    # at auto, no whale is above the threshold of its fold
    at_auto = 1 / 4 * 1 / 2 + 3 / 4 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1)
    map5 = 1 / 4 * 1 + 3 / 4 * no_duplicates
    best = [0.6, 0.4, 0.9 / 1.8, 0.55]  # a3 and c2 are correct
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
    result = points(written)
    assert {key: result[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    weights = [0.75 * 0.7 / 2, 0.75 * 0.7 / 2, 0.25, 0.75 * 0.3]
    same_bin = weights[0] * (1 - best[0]) + weights[3] * (0 - best[3])  # between 0.5 and 0.6
    assert result["ece"] == pytest.approx(abs(same_bin) + weights[1] * best[1] + weights[2] * (1 - best[2]), rel=1e-4)
    threshold_figures = {
        "threshold": 0.22,
        "threshold_auto": 0.65,
        "threshold_auto_low": 0.61,
        "threshold_auto_high": 0.7,
        "map5_auto": 0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1,
        "oracle_gain": 0.6 - (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1),  # the maximum of the curve
        "baseline_new_whale": 3 / 4 * 0.3,
        "baseline_centroid": 1 / 4 * 1 + 3 / 4 * 0.7 * (1 + 1 / 2) / 2,
        "baseline_duplicates": 1 / 4 * 1 + 3 / 4 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1),
        "unknown_share": 0.3,
        "duplicate_share": 1 / 4,
        "solution_map5": (1 + 1 / 2 + 1 + 1 / 3) / 4,
        "solution_map5_no_duplicates": (1 + 1 + 1 / 3) / 3,
    }
    assert {key: result[key] for key in threshold_figures} == pytest.approx(threshold_figures, rel=1e-5)
    assert result["threshold_cost"] == pytest.approx(at_auto - map5, rel=1e-4)
    other_keys = {"ece", "ece_uncalibrated", "ece_chance", "threshold_cost"}
    assert result.keys() - expected.keys() - threshold_figures.keys() == other_keys
    assert record.params == {"threshold": 0.22, "validated": "yes"}
    assert record.inputs == [Path("calibrations/threshold/decision.json"), Path("features/threshold.npz")]
    assert record.outputs == [Path("submissions/threshold.csv")]
    assert record.artifacts == [
        *[
            Path("submissions/threshold.csv"),
            Path("reports/figures/threshold.json"),
            Path("reports/curves/threshold.png"),
        ]
    ]
    assert record.dataset == paths.SPLIT
    # the page is logged to the run of the calibration
    assert record.report == Report("threshold.html", Path("calibrations/threshold/decision.json"))
    with Image.open("reports/curves/threshold.png") as plot:
        assert plot.width > 500
    assert not Path("reports/pages").exists()  # `report` writes them
    point, low, high = (f"{record.metrics[f'map5{end}']:.4f}" for end in ("", "_low", "_high"))
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"predict threshold: 4 queries at threshold 0.22; MAP@5 {point} ({low} to {high}) on validation, 0.7083 on "
        "the solution"
    )


def test_auto_ranks_each_validation_photo_at_the_threshold_of_its_fold(in_project):
    record, written, submission = run("toy")
    assert record.params["threshold"] == "auto"
    assert written["threshold"] == 0.65
    assert written["threshold_cost"] == 0
    assert [written["threshold_auto_low"], written["threshold_auto_high"]] == [0.22, 0.65]
    # a3 at 0.22: w_a first; b2 at 0.65: new_whale, w_a, w_b; u1 at 0.65: new_whale first
    assert written["map5_known"] == pytest.approx((1 + 1 / 3) / 2, rel=1e-5)
    assert written["map5_unknown"] == 1
    # queries are ranked at the threshold fitted on all folds
    assert submission[1] == "t1.jpg,new_whale w_c w_a w_b w_d"


def test_a_number_is_the_threshold_of_all_queries(in_project):
    record, written, submission = run("toy", 0.65)
    # this number equals `auto` for queries, but validation photos are ranked at it too, in all folds
    assert record.params["threshold"] == written["threshold"] == written["threshold_auto"] == 0.65
    assert written["map5_known"] == pytest.approx((1 / 2 + 1 / 3) / 2, rel=1e-5)  # a3, at 0.6, is below it as well
    assert written["threshold_cost"] > 0
    assert submission[1] == "t1.jpg,new_whale w_c w_a w_b w_d"
    _, again, submission = run("toy", 0)
    assert again["threshold"] == 0
    assert submission[1] == "t1.jpg,w_c w_a w_b w_d w_e"
    assert run("toy", 1)[2][1] == "t1.jpg,new_whale w_c w_a w_b w_d"
    # threshold-free figures do not change
    for key in ("auroc", "ece", "baseline_duplicates", "threshold_auto_low", "map5_auto"):
        assert again[key] == written[key]


def test_without_the_duplicates_score_duplicates_are_ignored(in_project):
    _, written, submission = run("toy", 0.22)
    assert "t2.jpg,w_e w_a new_whale w_b w_c" in submission
    assert written["map5_duplicates"] == 1 / 4


def test_a_network_trained_on_validation_photos_is_not_validated(in_project, capsys):
    record, written, submission = run("final")
    assert "t2.jpg,new_whale w_b w_e w_a w_c" in submission
    assert written == pytest.approx(
        {
            "unknown_share": 0.3,
            "duplicate_share": 1 / 4,
            "threshold": 0.65,
            "threshold_auto": 0.65,
            "solution_map5": (1 / 2 + 1 / 3 + 1 + 1 / 3) / 4,
            "solution_map5_no_duplicates": (1 / 2 + 1 + 1 / 3) / 3,
        },
        rel=1e-5,
    )
    assert record.params == {"threshold": "auto", "validated": "no", "calibrated_by": "threshold"}
    assert record.inputs == [Path("calibrations/threshold/decision.json"), Path("features/final.npz")]
    assert record.report == Report("final.html", Path("calibrations/threshold/decision.json"))
    assert Path("reports/curves/final.png").is_file()  # the curve of the prediction that calibrates it
    assert capsys.readouterr().out.splitlines()[1] == (
        "predict final: 4 queries at threshold 0.65, calibrated by threshold, not validated; MAP@5 0.5417 on the "
        "solution"
    )
    # a number as threshold is used too
    assert run("final", 0.95)[2][4].startswith("t4.jpg,new_whale ")


def test_the_page_of_an_ensemble_is_logged_to_the_run_of_its_calibration(empty):
    for network in ("toy", "threshold", "final", "second"):
        write_features(network)
    params = write_settings(
        {
            "ensemble": {"networks": ["toy", "threshold"]},
            "final": {"networks": ["final", "second"], "calibrated_by": "ensemble"},
        }
    )
    rank.run(params)
    records = predict.run(params)
    for name in ("ensemble", "final"):
        assert records[name].report == Report(f"{name}.html", Path("rankings/ensemble/decision.json"))
    assert records["final"].inputs == [
        *[Path("rankings/ensemble/decision.json"), Path("features/final.npz"), Path("features/second.npz")]
    ]
    assert outputs(records, "ensemble")[1]["map5"] > 0
    assert "map5" not in outputs(records, "final")[1]


def test_duplicates_alone(in_project, capsys):
    record, written, submission = run("phash", 0.22)
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
            "unknown_share": 0.3,
            "duplicate_share": 1 / 4,
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
    # there is no curve, and `threshold` is ignored
    assert record.artifacts == [Path("submissions/phash.csv"), Path("reports/figures/phash.json")]
    assert [*Path("reports/curves").iterdir()] == []
    assert record.inputs == [paths.LEAKS]
    assert record.report == Report("phash.html", paths.LEAKS)
    assert "predict phash: 4 queries; MAP@5 " in capsys.readouterr().out
    assert run("phash", 1)[1:] == (written, submission)


def test_new_whale_keeps_its_order_among_the_labels_of_duplicates(empty):
    leaks = [("t2.jpg", "n1.jpg", "new_whale", 0, 0.0), ("t2.jpg", "b1.jpg", "w_b", 2, 0.01)]
    for rows, expected in ((leaks, "new_whale w_b w_a w_c w_d"), (leaks[::-1], "w_b new_whale w_a w_c w_d")):
        write_leaks(*rows)
        rank.run(write_settings(single_networks("phash")))
        assert run("phash")[2][2] == f"t2.jpg,{expected}"


def test_the_class_new_whale_lowers_probabilities_but_the_threshold_ranks_new_whale(empty):
    write_features(
        "full", [*CLASSES, "new_whale"], {image: [0.3, 0.1, 0.05, 0.03, 0.02, 0.5] for image in CLASS_PROBABILITIES}
    )
    write_calibration("full", bias=0.0, calibration=IDENTITY)
    write_validation("full", skipped_roles=["new_whale_train"])
    rank.run(write_settings(single_networks("full")))
    # without the class, w_a would have probability 0.6
    assert run("full", 0.4)[2][1] == "t1.jpg,new_whale w_a w_b w_c w_d"
    # the class has probability 0.5, but is not ranked first
    assert run("full", 0.2)[2][1] == "t1.jpg,w_a new_whale w_b w_c w_d"


def test_without_a_solution_there_are_no_solution_figures(in_project):
    try:
        write_rows(paths.SOLUTION, ["Image", "Id"], [])
        _, written, _ = run("toy")
        assert not [key for key in written if key.startswith("solution")]
        write_rows(paths.SOLUTION, ["Image", "Id"], [("t2.jpg", SOLUTION["t2.jpg"])])  # a leak only
        _, written, _ = run("toy", 0.22)
        assert {key: value for key, value in written.items() if key.startswith("solution")} == {"solution_map5": 1}
    finally:
        write_rows(paths.SOLUTION, ["Image", "Id"], [*SOLUTION.items()])


def test_all_predictions_are_written_and_former_ones_removed(in_project, capsys):
    params = write_settings({**single_networks("phash", "threshold"), **FINAL}, 0.22)

    def written() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for top in FOLDERS for path in sorted(Path(top).iterdir())}

    assert list(predict.run(params)) == ["phash", "threshold", "final"]
    lines = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines[-3:] == ["predict phash", "predict threshold", "predict final"]
    first = written()
    assert [*first] == [
        *[f"submissions/{name}.csv" for name in ("final", "phash", "threshold")],
        *[f"reports/figures/{name}.json" for name in ("final", "phash", "threshold")],
        *["reports/curves/final.png", "reports/curves/threshold.png"],
    ]
    # phash: 1/4 * 1 + 3/4 * (0.7 * (1/2 + 1/3) / 2 + 0.3); threshold: 1/4 * 1 + 3/4 * (0.7 * 3/4 + 0.3 * 1/3)
    assert json.loads(Path("reports/metrics.json").read_text()) == {
        "best_map5": pytest.approx(0.71875, abs=1e-4),
        "map5": "phash 0.694\nthreshold 0.719\nfinal unvalidated",
        "known": "phash 0.417\nthreshold 0.750",
        "at": "threshold 0.220\nfinal 0.220",
    }
    predict.run(params)
    assert written() == first
    predict.run(write_settings(single_networks("threshold")))
    assert json.loads(Path("reports/metrics.json").read_text())["at"] == "threshold 0.650"
    again = written()
    assert [*again] == ["submissions/threshold.csv", "reports/figures/threshold.json", "reports/curves/threshold.png"]
    # the plot marks the threshold
    assert again["reports/curves/threshold.png"] != first["reports/curves/threshold.png"]


def test_predict_starts_without_heavy_libraries():
    heavy = ["torch", "torchvision", "scipy", "sklearn", "mlflow"]
    code = f"import sys, whaleid.stages.predict; print([name for name in {heavy} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
