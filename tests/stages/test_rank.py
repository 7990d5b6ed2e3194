"""Stage `rank` on hand-made files: the most probable whales of every query, and threshold-free figures."""

import json
from pathlib import Path

import pandas as pd
import pytest
from helpers.handmade import (
    LOG_9,
    ROLES,
    TEST,
    single_networks,
    write_calibration,
    write_features,
    write_rows,
    write_settings,
    write_tables,
    write_validation,
)

from whaleid.core import files, paths
from whaleid.identification.ranking import LABELS, PROBABILITIES
from whaleid.stages import calibrate, rank

MOST_PHOTOGRAPHED = ["w_a", "w_b", "w_c", "w_d", "w_e"]
"""Five whales by their number of labelled photos, ties by label. w_u also has one photo, and would be the next."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_tables()
    return tmp_path


def queries(prediction: str) -> dict[str, list[tuple[str, float]]]:
    """Return the whales of each query and their probabilities."""
    table = files.read_csv(Path("rankings") / prediction / "queries.csv").set_index("Image")
    pairs = zip(table[LABELS].to_numpy().tolist(), table[PROBABILITIES].to_numpy().tolist(), strict=True)
    return {image: list(zip(*pair, strict=True)) for image, pair in zip(table.index, pairs, strict=True)}


def figures(prediction: str) -> dict[str, float]:
    return json.loads((Path("rankings") / prediction / "figures.json").read_text())


def listing(prediction: str) -> list[str]:
    return sorted(path.name for path in (Path("rankings") / prediction).iterdir())


def test_the_most_probable_whales_of_each_query(capsys):
    write_features("threshold")
    write_calibration("threshold", duplicates=LOG_9)
    write_validation("threshold", boosted=["c2.jpg"], thresholds=[0.61, 0.65, 0.7])
    assert rank.run(write_settings(single_networks("threshold"))) == {}  # no ensemble, so nothing is calibrated
    assert capsys.readouterr().out == "rank: 4 queries by threshold\n"
    assert listing("threshold") == ["decision.json", "figures.json", "queries.csv", "threshold.csv", "validation.csv"]
    for name in ("decision.json", "threshold.csv"):
        copy, original = (Path(folder) / "threshold" / name for folder in ("rankings", "calibrations"))
        assert copy.read_bytes() == original.read_bytes()
    table = files.read_csv(Path("rankings/threshold/queries.csv"))
    assert [*table] == ["Image", "leaked", *LABELS, *PROBABILITIES]
    assert table["Image"].tolist() == TEST
    assert table["leaked"].tolist() == [0, 1, 0, 0]
    ranked = queries("threshold")
    assert "new_whale" not in table[LABELS].to_numpy()
    assert ranked["t1.jpg"] == [("w_c", 0.6), ("w_a", 0.1), ("w_b", 0.1), ("w_d", 0.1), ("w_e", 0.1)]
    expected = [("w_b", 0.9 / 1.8), ("w_e", 0.5 / 1.8), ("w_a", 0.3 / 1.8), ("w_c", 0.06 / 1.8), ("w_d", 0.04 / 1.8)]
    assert [label for label, _ in ranked["t2.jpg"]] == [label for label, _ in expected]
    assert [value for _, value in ranked["t2.jpg"]] == pytest.approx([value for _, value in expected], rel=1e-5)

    answers = files.read_csv(Path("rankings/threshold/validation.csv"))
    calibrated = files.read_csv(Path("calibrations/threshold/validation.csv"))
    pd.testing.assert_frame_equal(answers, calibrated)


def test_rankings_do_not_depend_on_the_threshold():
    write_features("toy")
    write_calibration("toy")
    write_validation("toy")

    def outputs(threshold):
        rank.run(write_settings(single_networks("phash", "toy"), threshold))
        return {path: path.read_bytes() for path in sorted(Path("rankings").rglob("*")) if path.is_file()}

    assert outputs("auto") == outputs(0.2)


def test_without_the_duplicates_score_duplicates_are_ignored():
    write_features("toy")
    write_calibration("toy")
    write_validation("toy")
    rank.run(write_settings(single_networks("toy")))
    assert [label for label, _ in queries("toy")["t2.jpg"]] == ["w_e", "w_a", "w_b", "w_c", "w_d"]
    # t2.jpg is still marked as a leak
    assert files.read_csv(Path("rankings/toy/queries.csv"))["leaked"].tolist() == [0, 1, 0, 0]


def test_queries_are_compared_with_held_out_whales_too():
    write_features("toy", extra={"u1.jpg": 9.0, **dict.fromkeys(TEST, -9.0), "t4.jpg": 9.0})
    write_calibration("toy")
    write_validation("toy")
    rank.run(write_settings(single_networks("toy")))
    assert [ranked[0][0] for ranked in queries("toy").values()] == ["w_c", "w_e", "w_a", "w_u"]


def test_duplicates_alone():
    rank.run(write_settings(single_networks("phash")))
    # no decision and no threshold curve
    assert listing("phash") == ["figures.json", "queries.csv", "validation.csv"]
    probabilities = {query: [0.0] * 5 for query in TEST} | {"t2.jpg": [1.0, 0.0, 0.0, 0.0, 0.0]}
    for query, ranked in queries("phash").items():
        labels = ["w_b", "w_a", "w_c", "w_d", "w_e"] if query == "t2.jpg" else MOST_PHOTOGRAPHED
        assert ranked == [*zip(labels, probabilities[query], strict=True)]
    answers = files.read_csv(Path("rankings/phash/validation.csv")).set_index("Image")
    assert answers["role"].to_dict() == {**ROLES, "n1.jpg": "new_whale_train"}
    assert answers.loc["c2.jpg", ["label1", "probability1", "uncalibrated"]].tolist() == ["w_c", 1, 1]
    assert answers.loc["a3.jpg", ["label1", "probability1", "uncalibrated"]].tolist() == ["w_a", 0, 0]
    assert figures("phash") == pytest.approx(
        {
            "unknown_share": 0.3,
            "duplicate_share": 1 / 4,
            "baseline_new_whale": 3 / 4 * 0.3,
            "baseline_duplicates": 1 / 4 * 1 + 3 / 4 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1),
        },
        rel=1e-5,
    )


def test_an_ensemble_is_calibrated_and_compared_with_each_of_its_networks(capsys):
    members = ["toy", "threshold", "margin"]
    write_features("toy", probabilities={})
    write_features("threshold")
    write_features("margin")
    scores = ["class", "nearest", "duplicates"]
    params = write_settings({"ensemble": {"networks": members}}, scores=scores)
    records = rank.run(params)
    assert list(records) == ["ensemble"]  # logged as a separate run of stage calibrate
    record, outputs = records["ensemble"], Path("rankings/ensemble")
    result = json.loads((outputs / "decision.json").read_text())
    names = [f"{member}_{score}" for member in members for score in ("class", "nearest")]
    names.insert(2, "duplicates")  # this score does not depend on the network
    assert list(result["weights"]) == names
    assert list(record.metrics)[: len(names) + 1] == [*(f"weight_{name}" for name in names), "bias"]
    assert record.params["variant"] == "ensemble"
    assert record.params["scores"] == " ".join(names)
    assert record.outputs == [outputs / "decision.json", outputs / "validation.csv"]
    assert record.artifacts == [outputs / "threshold.csv", outputs / "scores.csv"]
    assert record.inputs[: len(members)] == [Path(f"features/{member}.npz") for member in members]
    assert capsys.readouterr().out.startswith("calibrate ensemble: weights toy_class ")
    compared = pd.read_csv(outputs / "scores.csv", index_col="score")
    assert list(compared.index) == [*members, "without_duplicates", "all"]
    # the fit of one network equals that of the variant alone
    calibrate.run(params, "threshold")
    alone = pd.read_csv("calibrations/threshold/scores.csv", index_col="score")
    assert compared.loc["threshold"].tolist() == alone.loc["without_duplicates"].tolist()


def test_calibrated_by_assigns_weights_to_networks_in_order():
    write_features("toy", probabilities={})
    write_features("threshold")
    write_features("final", probabilities={})  # the same as toy
    write_features("second")
    calibrating = {"ensemble": {"networks": ["toy", "threshold"]}}
    for networks, same in ((["final", "second"], True), (["second", "final"], False)):
        calibrated = {"final": {"networks": networks, "calibrated_by": "ensemble"}}
        for predictions in ({**calibrating, **calibrated}, {**calibrated, **calibrating}):  # in any order
            rank.run(write_settings(predictions))
            assert (queries("final") == queries("ensemble")) == same
    # it is not validated, because its networks are trained on validation photos
    assert listing("final") == ["figures.json", "queries.csv"]
    decision = json.loads(Path("rankings/ensemble/decision.json").read_text())
    assert figures("final") == {
        "unknown_share": 0.3,
        "duplicate_share": 0.25,
        "threshold_auto": decision["threshold_auto"],
    }
    assert not Path("calibrations/final").exists()  # it is not needed either


def test_short_rankings_are_completed_with_the_whales_with_the_most_photos():
    # two whales in the gallery
    split = files.read_csv(paths.SPLIT)
    split = split[split["Id"].isin(["w_b", "w_d", "new_whale"])]
    files.write_csv(split.assign(part="train", role="catalogue"), paths.SPLIT)
    answers = files.read_csv(paths.SPLIT)
    answers.loc[answers["Image"] == "b2.jpg", ["part", "role"]] = ["validation", "known"]
    files.write_csv(answers, paths.SPLIT)
    write_features("toy")
    write_calibration("toy")
    write_validation("toy")
    rank.run(write_settings(single_networks("toy")))
    ranked = queries("toy")["t4.jpg"]
    # w_d 0.90 and w_b 0.03, then whales by their number of photos
    assert ranked == [
        *[("w_d", pytest.approx(0.9 / 0.93, rel=1e-5)), ("w_b", pytest.approx(0.03 / 0.93, rel=1e-4))],
        *[("w_a", 0.0), ("w_c", 0.0), ("w_e", 0.0)],
    ]


def test_no_queries_give_empty_tables():
    catalog = files.read_csv(paths.CATALOG)
    files.write_csv(catalog[catalog["part"] == "train"], paths.CATALOG)
    write_rows(paths.LEAKS, ["query", "photo", "Id", "distance", "error"], [])
    write_features("toy")
    write_calibration("toy")
    write_validation("toy")
    rank.run(write_settings(single_networks("phash", "toy")))
    header = ",".join(["Image", "leaked", *LABELS, *PROBABILITIES]) + "\n"
    for prediction in ("phash", "toy"):
        assert (Path("rankings") / prediction / "queries.csv").read_text() == header
        assert figures(prediction)["duplicate_share"] == 0


def test_files_of_former_predictions_and_variants_are_removed():
    rank.run(write_settings(single_networks("phash")))
    write_features("toy")
    write_calibration("toy")
    write_validation("toy")
    paths.features("old").touch()
    rank.run(write_settings(single_networks("toy")))
    assert [path.name for path in Path("rankings").iterdir()] == ["toy"]
    assert [path.name for path in Path("features").iterdir()] == ["toy.npz"]
