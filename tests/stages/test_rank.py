"""Stage rank on a hand-made folder: the most probable whales of every query, before a threshold ranks `new_whale`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.handmade import (
    CLASSES,
    LIKELY,
    NINEFOLD,
    ROLES,
    TEST,
    of,
    put,
    put_calibration,
    put_features,
    put_leaks,
    put_tables,
    put_validation,
    settings,
)

from whaleid.core import files, paths
from whaleid.identification import scores
from whaleid.identification.ranking import LABELS, PROBABILITIES
from whaleid.stages import calibrate, rank

COMMONEST = ["w_a", "w_b", "w_c", "w_d", "w_e"]
"""Whales by their number of labelled photos, ties by label; w_u has one photo as well, and comes last."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    put_tables()
    return tmp_path


def queries(prediction: str) -> dict[str, list[tuple[str, float]]]:
    """Return the whales of each query with their probabilities."""
    table = files.read_csv(Path("rankings") / prediction / "queries.csv").set_index("Image")
    pairs = zip(table[LABELS].to_numpy().tolist(), table[PROBABILITIES].to_numpy().tolist(), strict=True)
    return {image: list(zip(*pair, strict=True)) for image, pair in zip(table.index, pairs, strict=True)}


def standing(prediction: str) -> dict[str, float]:
    return json.loads((Path("rankings") / prediction / "figures.json").read_text())


def named(prediction: str) -> list[str]:
    return sorted(path.name for path in (Path("rankings") / prediction).iterdir())


def calibrated_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ensemble find what was written of it, as if it had been calibrated so."""
    paths.calibration("ensemble").rename("ensemble")  # ranking removes what no variant left

    def write(params, name, folder):
        shutil.copytree(name, folder, dirs_exist_ok=True)

    monkeypatch.setattr(rank, "_calibrate", write)


def test_the_most_probable_whales_of_each_query(capsys):
    put_features("threshold")
    put_calibration("threshold", duplicates=NINEFOLD)
    put_validation("threshold", evidence=["c2.jpg"], thresholds=[0.61, 0.65, 0.7])
    assert rank.run(settings(of("threshold"))) == {}  # nothing was calibrated here
    assert capsys.readouterr().out == "rank: 4 queries by threshold\n"
    assert named("threshold") == ["decision.json", "figures.json", "queries.csv", "threshold.csv", "validation.csv"]
    for name in ("decision.json", "threshold.csv"):
        kept, found = (Path(folder) / "threshold" / name for folder in ("rankings", "calibrations"))
        assert kept.read_bytes() == found.read_bytes()
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


def test_figures_that_no_threshold_changes():
    put_features("threshold")
    put_calibration("threshold", duplicates=NINEFOLD)
    put_validation("threshold", evidence=["c2.jpg"], thresholds=[0.61, 0.65, 0.7])
    rank.run(settings(of("threshold"), 0.22))
    found = standing("threshold")
    said = [0.6, 0.4, 0.9 / 1.8, 0.55]  # of a3, b2, c2 and u1: a3 and c2 are right
    weights = [0.75 * 0.7 / 2, 0.75 * 0.7 / 2, 0.25, 0.75 * 0.3]
    together = weights[0] * (1 - said[0]) + weights[3] * (0 - said[3])  # between 0.5 and 0.6
    expected = {
        "unknown_share": 0.3,
        "duplicate_share": 1 / 4,  # one query of four is a leak
        "threshold_auto": 0.65,
        "threshold_auto_low": 0.61,
        "threshold_auto_high": 0.7,
        # nobody is above the threshold of its part
        "map5_auto": 0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1,
        "oracle_gain": 0.6 - (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1),  # the curve's highest point
        "auroc": 1 / 2,  # 0.55 is below a3's and above b2's
        "tpr_at_fpr01": 1 / 2,
        "tpr_at_fpr05": 1 / 2,
        "oscr": 1 / 2,
        "ece": abs(together) + weights[1] * said[1] + weights[2] * (1 - said[2]),
        "baseline_new_whale": 3 / 4 * 0.3,
        "baseline_centroid": 1 / 4 * 1 + 3 / 4 * 0.7 * (1 + 1 / 2) / 2,
        "baseline_duplicates": 1 / 4 * 1 + 3 / 4 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    with_interval = ("auroc", "tpr_at_fpr01", "tpr_at_fpr05", "oscr", "ece", "ece_uncalibrated")
    ends = {f"{key}_{end}" for key in with_interval for end in ("low", "high")}
    assert found.keys() - expected.keys() == {"ece_uncalibrated", "ece_chance", *ends}
    for key in with_interval:
        assert found[f"{key}_low"] <= found[key] <= found[f"{key}_high"]


def test_a_threshold_changes_no_ranking():
    put_features("toy")
    put_calibration("toy")
    put_validation("toy")

    def left(threshold):
        rank.run(settings(of("phash", "toy"), threshold))
        return {path: path.read_bytes() for path in sorted(Path("rankings").rglob("*")) if path.is_file()}

    assert left("auto") == left(0.2) == left(1.0)


def test_probabilities_are_calibrated():
    put_features("toy")
    # a logit of 0 stays, others are halved: 0.9 becomes 0.75, 0.6 becomes 0.55
    put_calibration("toy", calibration={"slope": 0.5, "intercept": 0})
    put_validation("toy")
    rank.run(settings(of("toy")))
    ranked = queries("toy")
    assert ranked["t4.jpg"][0] == ("w_d", pytest.approx(0.75, rel=1e-3))
    assert ranked["t1.jpg"][0] == ("w_c", pytest.approx(0.55, rel=1e-2))


def test_a_network_on_its_own_does_not_look_at_duplicates():
    put_features("toy")
    put_calibration("toy")
    put_validation("toy")
    rank.run(settings(of("toy")))
    assert [label for label, _ in queries("toy")["t2.jpg"]] == ["w_e", "w_a", "w_b", "w_c", "w_d"]
    assert files.read_csv(Path("rankings/toy/queries.csv"))["leaked"].tolist() == [0, 1, 0, 0]  # though it is one


def test_queries_are_compared_with_whales_that_validation_held_out():
    put_features("toy", looks={"u1.jpg": 9.0, **dict.fromkeys(TEST, -9.0), "t4.jpg": 9.0})
    put_calibration("toy")
    put_validation("toy")
    rank.run(settings(of("toy")))
    assert [ranked[0][0] for ranked in queries("toy").values()] == ["w_c", "w_e", "w_a", "w_u"]


def left(prediction: str) -> list[str]:
    return [(Path("rankings") / prediction / name).read_text() for name in ("queries.csv", "figures.json")]


def test_blocks_of_queries_give_what_all_at_once_give(monkeypatch):
    put_features("toy")
    put_calibration("toy", nearest=0.5, centroid=0.1, duplicates=1.0)
    put_validation("toy")
    rank.run(settings(of("toy")))
    whole = left("toy")
    monkeypatch.setattr(scores, "QUERIES", 3)
    rank.run(settings(of("toy")))
    assert left("toy") == whole


def test_a_new_whale_class_takes_probability_of_the_whales():
    likely = {image: [0.3, 0.1, 0.05, 0.03, 0.02, 0.5] for image in LIKELY}
    put_features("full", [*CLASSES, "new_whale"], likely)
    put_calibration("full", bias=0.0)
    put_validation("full", learnt=["new_whale_train"])
    rank.run(settings(of("full")))
    first, second = queries("full")["t1.jpg"][:2]  # w_a would have 0.6 without that class
    assert first == ("w_a", pytest.approx(0.3, rel=1e-5))
    assert second == ("w_b", pytest.approx(0.1, rel=1e-5))


def test_duplicates_alone():
    rank.run(settings(of("phash")))
    assert named("phash") == ["figures.json", "queries.csv", "validation.csv"]  # it has no threshold
    likely = {query: [0.0] * 5 for query in TEST} | {"t2.jpg": [1.0, 0.0, 0.0, 0.0, 0.0]}
    for query, ranked in queries("phash").items():
        labels = ["w_b", "w_a", "w_c", "w_d", "w_e"] if query == "t2.jpg" else COMMONEST
        assert ranked == [*zip(labels, likely[query], strict=True)]
    answers = files.read_csv(Path("rankings/phash/validation.csv")).set_index("Image")
    assert answers["role"].to_dict() == {**ROLES, "n1.jpg": "new_whale_train"}
    assert answers.loc["c2.jpg", ["label1", "probability1", "uncalibrated"]].tolist() == ["w_c", 1, 1]
    assert answers.loc["a3.jpg", ["label1", "probability1", "uncalibrated"]].tolist() == ["w_a", 0, 0]
    assert standing("phash") == pytest.approx(
        {
            "unknown_share": 0.3,
            "duplicate_share": 1 / 4,
            "baseline_new_whale": 3 / 4 * 0.3,
            "baseline_duplicates": 1 / 4 * 1 + 3 / 4 * (0.7 * (1 / 2 + 1 / 3) / 2 + 0.3 * 1),
        },
        rel=1e-5,
    )


def test_duplicates_that_name_no_whale_keep_their_place():
    leaks = [("t2.jpg", "n1.jpg", "new_whale", 0, 0.0), ("t2.jpg", "b1.jpg", "w_b", 2, 0.01)]
    put_leaks(*leaks)
    rank.run(settings(of("phash")))
    assert queries("phash")["t2.jpg"][:2] == [("w_b", 0.0), ("w_a", 0.0)]  # new_whale comes before both
    put_leaks(*leaks[::-1])
    rank.run(settings(of("phash")))
    assert queries("phash")["t2.jpg"][:2] == [("w_b", 1.0), ("w_a", 0.0)]


def test_an_ensemble_weighs_the_scores_of_both_networks(monkeypatch):
    flattened = {image: np.sqrt(likely) / np.sqrt(likely).sum() for image, likely in LIKELY.items()}
    put_features("toy", likely=flattened)
    put_features("threshold", [*CLASSES[::-1], "new_whale"], {i: [*p[::-1], 1.0] for i, p in flattened.items()})
    # the square roots of probabilities, multiplied, are the probabilities again
    put_calibration("ensemble", weights={"toy_class": 1.0, "duplicates": NINEFOLD, "threshold_class": 1.0})
    put_validation("ensemble", learnt=["new_whale_train"])
    calibrated_as_written(monkeypatch)
    put_features("margin")
    put_calibration("margin", duplicates=NINEFOLD)
    put_validation("margin", learnt=["new_whale_train"])
    rank.run(settings({"ensemble": {"networks": ["toy", "threshold"]}, **of("margin")}))
    ensemble, alone = queries("ensemble"), queries("margin")
    for query in TEST:
        assert [label for label, _ in ensemble[query]] == [label for label, _ in alone[query]]
        values = [[value for _, value in ranked] for ranked in (ensemble[query], alone[query])]
        assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_an_ensemble_of_three_weighs_all_their_scores(monkeypatch):
    rooted = {image: np.cbrt(likely) / np.cbrt(likely).sum() for image, likely in LIKELY.items()}
    for network in ("toy", "threshold", "margin"):
        put_features(network, likely=rooted)
    # the third roots of probabilities, multiplied, are the probabilities again
    put_calibration("ensemble", weights={"toy_class": 1.0, "threshold_class": 1.0, "margin_class": 1.0})
    put_validation("ensemble")
    calibrated_as_written(monkeypatch)
    rank.run(settings({"ensemble": {"networks": ["toy", "threshold", "margin"]}}))
    ranked = queries("ensemble")
    assert ranked["t1.jpg"][0] == ("w_c", pytest.approx(0.6, rel=1e-4))
    assert ranked["t2.jpg"][:2] == [("w_e", pytest.approx(0.5, rel=1e-4)), ("w_a", pytest.approx(0.3, rel=1e-4))]


@pytest.mark.parametrize("members", [["toy", "threshold"], ["toy", "threshold", "margin"]])
def test_an_ensemble_is_calibrated_here_and_compared_with_each_of_its_networks(members, capsys):
    put_features("toy", likely={})
    put_features("threshold")
    put_features("margin")
    scores = ["class", "nearest", "duplicates"]
    params = settings({"ensemble": {"networks": members}}, scores=scores)
    records = rank.run(params)
    assert list(records) == ["ensemble"]  # a run of its own, of stage calibrate
    record, place = records["ensemble"], Path("rankings/ensemble")
    found = json.loads((place / "decision.json").read_text())
    names = [f"{member}_{score}" for member in members for score in ("class", "nearest")]
    names.insert(2, "duplicates")  # they say the same beside every network
    assert list(found["weights"]) == names
    assert list(record.metrics)[: len(names) + 1] == [*(f"weight_{name}" for name in names), "bias"]
    assert record.params["variant"] == "ensemble"
    assert record.params["scores"] == " ".join(names)
    assert record.outputs == [place / "decision.json", place / "validation.csv"]
    assert record.artifacts == [place / "threshold.csv", place / "scores.csv"]
    assert record.inputs[: len(members)] == [Path(f"features/{member}.npz") for member in members]
    assert capsys.readouterr().out.startswith("calibrate ensemble: toy_class ")
    compared = pd.read_csv(place / "scores.csv", index_col="score")
    assert list(compared.index) == [*members, "without_duplicates", "all"]
    # alone in both, and not calibrated where another is the variant itself
    calibrate.run(params, "threshold")
    alone = pd.read_csv("calibrations/threshold/scores.csv", index_col="score")
    assert compared.loc["threshold"].tolist() == alone.loc["without_duplicates"].tolist()


def test_a_prediction_that_is_calibrated_by_another_takes_its_weights_network_by_network(monkeypatch):
    for network in ("toy", "threshold"):
        put_features(network, likely={})
    sure = {image: [0.01, 0.01, 0.96, 0.01, 0.01] for image in TEST}  # w_c
    unsure = {image: [0.2, 0.2, 0.1, 0.4, 0.1] for image in TEST}  # w_d
    put_features("final", likely=sure)
    put_features("second", likely=unsure)
    # the first network's scores alone count
    put_calibration("ensemble", threshold_auto=0.22, weights={"toy_class": 1.0, "threshold_class": 0.0})
    put_validation("ensemble")
    calibrated_as_written(monkeypatch)
    lender = {"ensemble": {"networks": ["toy", "threshold"]}}
    for networks_of, first in ((["final", "second"], ("w_c", 0.96)), (["second", "final"], ("w_d", 0.4))):
        borrower = {"final": {"networks": networks_of, "calibrated_by": "ensemble"}}
        # in whichever order predictions are named
        for predictions in ({**lender, **borrower}, {**borrower, **lender}):
            rank.run(settings(predictions))
            assert queries("final")["t1.jpg"][0] == (first[0], pytest.approx(first[1], rel=1e-4))
    # nothing of it is measured on validation, which it has learnt
    assert named("final") == ["figures.json", "queries.csv"]
    assert standing("final") == {"unknown_share": 0.3, "duplicate_share": 0.25, "threshold_auto": 0.22}


def test_a_network_that_learns_all_takes_the_weights_of_one():
    put_features("margin", likely={})
    put_features("final")
    put_calibration("margin", threshold_auto=0.3, duplicates=NINEFOLD)
    put_validation("margin")
    rank.run(settings({**of("margin"), "final": {"networks": ["final"], "calibrated_by": "margin"}}))
    assert queries("final")["t2.jpg"][0] == ("w_b", pytest.approx(0.9 / 1.8, rel=1e-5))
    assert named("final") == ["figures.json", "queries.csv"]
    assert not Path("calibrations/final").exists()  # nor needed


def test_short_rankings_are_filled_with_the_whales_that_have_most_photos():
    # three whales in the catalogue, and two queries
    split = files.read_csv(paths.SPLIT)
    split = split[split["Id"].isin(["w_b", "w_d", "new_whale"])]
    files.write_csv(split.assign(part="train", role="catalogue"), paths.SPLIT)
    answers = files.read_csv(paths.SPLIT)
    answers.loc[answers["Image"] == "b2.jpg", ["part", "role"]] = ["validation", "known"]
    files.write_csv(answers, paths.SPLIT)
    put_features("toy")
    put_calibration("toy")
    put_validation("toy")
    rank.run(settings(of("toy")))
    ranked = queries("toy")["t4.jpg"]
    # w_d 0.90 and w_b 0.03; then whales of the catalogue by their photos
    assert ranked == [
        *[("w_d", pytest.approx(0.9 / 0.93, rel=1e-5)), ("w_b", pytest.approx(0.03 / 0.93, rel=1e-4))],
        *[("w_a", 0.0), ("w_c", 0.0), ("w_e", 0.0)],
    ]


def test_without_queries_there_are_tables_without_rows():
    catalog = files.read_csv(paths.CATALOG)
    files.write_csv(catalog[catalog["part"] == "train"], paths.CATALOG)
    put(paths.LEAKS, ["query", "photo", "Id", "distance", "error"], [])
    put_features("toy")
    put_calibration("toy")
    put_validation("toy")
    rank.run(settings(of("phash", "toy")))
    header = ",".join(["Image", "leaked", *LABELS, *PROBABILITIES]) + "\n"
    for prediction in ("phash", "toy"):
        assert (Path("rankings") / prediction / "queries.csv").read_text() == header
        assert standing(prediction)["duplicate_share"] == 0


def test_a_prediction_that_is_no_longer_named_leaves_nothing():
    rank.run(settings(of("phash")))
    put_features("toy")
    put_calibration("toy")
    put_validation("toy")
    rank.run(settings(of("toy")))
    assert [path.name for path in Path("rankings").iterdir()] == ["toy"]


def test_what_variants_that_are_no_longer_named_left_is_removed(folder):
    put_features("toy")
    put_calibration("toy")
    put_validation("toy")
    gone = [
        "features/old.npz",
        "calibrations/old/decision.json",
        "checkpoints/old.safetensors",
        "reports/histories/old.csv",
    ]
    kept = [
        "checkpoints/backbone.safetensors",
        "checkpoints/toy.safetensors",
        "features/final.npz",
        "reports/histories/margin.csv",
        "checkpoints/weights.safetensors",  # the state dict that backbone.weights names
        "checkpoints/weights.pth",
        "checkpoints/.toy.partial.safetensors",  # of a training still at work
        "calibrations/.old.partial/decision.json",
        "calibrations/notes.txt",
        "features/notes.txt",
    ]
    for name in (*gone, *kept):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    backbone = {"name": "resnet18", "weights": "checkpoints/weights.safetensors", "embedding": 16, "fine": False}
    rank.run(settings(of("toy"), backbone=backbone))
    assert [name for name in (*gone, *kept) if (folder / name).exists()] == kept
    assert not (folder / "calibrations/old").exists()
    assert (folder / "features/toy.npz").exists()
