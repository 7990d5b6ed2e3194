"""Validation of `params.yaml`: one error lists all problems."""

import copy
from pathlib import Path

import pytest
from helpers.project import ROOT, ensemble_params, update_nested

from whaleid import config
from whaleid.config import Params, Prediction
from whaleid.core.errors import InputProblems, WhaleidError

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
DOCUMENT = config.parse(TEXT)
ALL_SCORES = ["class", "nearest", "centroid", "duplicates"]
TRIPLET = {"kind": "triplet", "scale": 16, "margin": 0.3, "centres": 1}
VARIANTS = "toy, full, threshold, margin, final"


def changed(**changes: object) -> dict[str, object]:
    """Return a copy of the document with `changes`; sections keep their other keys."""
    assert isinstance(DOCUMENT, dict)
    document = copy.deepcopy(DOCUMENT)
    update_nested(document, changes)
    return document


def params(**changes: object) -> Params:
    return config.check(changed(**changes), Path("params.yaml"))


def problems(document: object) -> list[str]:
    with pytest.raises(InputProblems) as caught:
        config.check(document, Path("params.yaml"))
    assert str(caught.value).startswith(f"params.yaml has wrong values ({len(caught.value.locations)}):\n  ")
    assert str(caught.value).endswith("\nFix these keys: docs/reference.md lists their values.")
    return caught.value.locations


def test_the_params_file_of_the_project() -> None:
    loaded = config.load(ROOT / "params.yaml")
    assert loaded == params()
    assert loaded.threshold == "auto"
    assert list(loaded.variants) == VARIANTS.split(", ")
    assert (loaded.variants["full"].init, loaded.variants["toy"].train.whales) == ("toy", 56)
    assert loaded.variants["margin"].train.loss == config.Loss(kind="cosface", scale=24, margin=0.3, centres=1)
    assert (loaded.variants["final"].init, loaded.variants["final"].learn) == ("margin", "all")
    single = {name: Prediction(networks=[name]) for name in ("toy", "full", "threshold", "margin")}
    final = Prediction(networks=["final"], calibrated_by="margin")
    assert loaded.predictions == {"phash": Prediction(networks=[]), **single, "final": final}


def test_calibration_of_predictions() -> None:
    loaded = params(**ensemble_params())
    assert loaded.calibration_source("margin") == "margin"
    assert loaded.calibration_source("final") == "ensemble"
    assert loaded.variant_by_calibrated("final") == {"margin": "final", "pairs": "final_pairs"}
    assert loaded.decision_path("margin") == Path("calibrations/margin/decision.json")
    assert loaded.decision_path("ensemble") == loaded.decision_path("final") == Path("rankings/ensemble/decision.json")
    assert loaded.decision_path("phash") == Path("data/dedup/leaks.csv")
    assert loaded.network_scores("toy") == [["class"]]
    assert loaded.network_scores("final") == [ALL_SCORES] * 2


@pytest.mark.parametrize(
    "changes",
    [
        *({"threshold": value} for value in (0, 1, 0.2)),
        *({"variants": {name: DOCUMENT["variants"]["toy"]}} for name in ("phash", "ensemble", "explore", "größer-2")),
        {"variants": {"longer": DOCUMENT["variants"]["final"] | {"init": "final"}}},  # both learn all
        {"variants": {"margin": {"train": {"loss": TRIPLET, "per_whale": 16, "batch_size": 32}}}},
        {"predictions": {"three": {"networks": ["toy", "full", "margin"]}}},
    ],
)
def test_valid_values(changes: dict[str, object]) -> None:
    params(**changes)


def test_phash_is_optional() -> None:
    document = changed()
    document["predictions"].pop("phash")
    assert "phash" not in config.check(document, Path("params.yaml")).predictions


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"threshold": 1.5}, ["threshold: must be less than or equal to 1 or 'auto', got 1.5"]),
        ({"variants": 3}, ["variants: must be a valid dictionary, got 3"]),
        (
            {"pack": {"grey": 3}, "seed": -1, "variants": {"toy": {"train": {"whales": "many", "epochz": 8}}}},
            [
                "seed: must be greater than or equal to 0, got -1",
                "pack.grey: must be a valid boolean, got 3",
                "variants.toy.train.whales: must be a valid integer or 'all', got 'many'",
                "variants.toy.train.epochz: no such key; did you mean 'epochs'?",
            ],
        ),
        (
            {"predictions": {"margin": {"networks": "margin", "calibratedby": "toy"}, "new": {}}},
            [
                "predictions.margin.networks: must be a valid list, got 'margin'",
                "predictions.margin.calibratedby: no such key; did you mean 'calibrated_by'?",
                "predictions.new.networks: missing",
            ],
        ),
        (
            {"predictions": {"phash": {"networks": ["toy"]}}},
            ["predictions.phash.networks: phash ranks duplicates only: leave networks empty, or choose another name"],
        ),
        *(
            (
                {"variants": {name: DOCUMENT["variants"]["full"]}},
                [f"variants.{name}: the names backbone, boxes, pictures are reserved: choose another name"],
            )
            for name in ("boxes", "pictures")
        ),
        *(
            ({section: {name: copy.deepcopy(DOCUMENT[section]["toy"])}}, [f"{section}.{name}: {config.NAME_RULE}"])
            for section in ("variants", "predictions")
            for name in ("a/b", "a b", "../up", "a.b", "3d", "")
        ),
    ],
)
def test_each_problem_names_its_key(changes: dict[str, object], expected: list[str]) -> None:
    assert problems(changed(**changes)) == expected


def test_backbone_is_a_reserved_name() -> None:
    lines = problems(changed(variants={"backbone": DOCUMENT["variants"]["full"]}))
    assert lines[0] == "variants.backbone: the names backbone, boxes, pictures are reserved: choose another name"


def test_missing_keys() -> None:
    document = changed(thresold=0.2)
    document.pop("threshold")
    document["predictions"]["last"] = document["predictions"].pop("final")
    assert problems(document) == ["threshold: missing", "thresold: no such key; did you mean 'threshold'?"]
    document["threshold"] = document.pop("thresold")
    assert problems(document) == [
        "predictions.final: missing: add it, because the stage bundle builds models/final.bundle from it"
    ]


def test_errors_name_the_present_keys_for_keys_of_earlier_versions() -> None:
    renamed = {
        **dict.fromkeys(["whales", "flip", "loss", "layers", "epochs"], "train.{}"),
        **{"min_views": "train.oversample", "batch": "train.batch_size", "rate": "train.lr"},
        **{"decay": "train.weight_decay", "zoom": "embed.zoom", "tilt": "embed.tilt"},
    }
    document = changed(
        ensemble=["margin", "pairs"], final={"epochs": 6}, neighbours=3, variants={"margin": dict.fromkeys(renamed, 1)}
    )
    assert problems(document) == [
        *(
            f"variants.margin.{key}: renamed to variants.margin.{present.format(key)}"
            for key, present in renamed.items()
        ),
        "ensemble: renamed to predictions.ensemble.networks",
        "final: renamed to variants.final.learn and predictions.final.calibrated_by",
        "neighbours: no such key",
    ]
    # the current key is not reported as missing too
    document = changed()
    document["variants"]["toy"]["train"]["min_views"] = document["variants"]["toy"]["train"].pop("oversample")
    assert problems(document) == ["variants.toy.train.min_views: renamed to variants.toy.train.oversample"]
    # the section boxes never had these keys
    assert problems(changed(boxes={"rate": 1, "batch": 2})) == [
        "boxes.rate: no such key",
        "boxes.batch: no such key; did you mean 'batch_size'?",
    ]


@pytest.mark.parametrize(
    ("inits", "expected"),
    [
        ({"full": "tyo"}, f"full.init: there is no variant 'tyo' (available: backbone, {VARIANTS})"),
        # reported once, although three variants are in the cycle and `margin` and `final` start from it
        (
            {"toy": "threshold"},
            "full.init: circular: full → toy → threshold → full. Set init of one of them to backbone",
        ),
        ({"toy": "toy"}, "toy.init: circular: toy → toy. Set init of one of them to backbone"),
        (
            {"full": "final", "margin": "toy"},
            "full.init: final has learn: all, so a variant that starts from it cannot be validated: set learn: all "
            "here as well, or start from another variant",
        ),
    ],
)
def test_initial_weights_of_a_variant(inits: dict[str, str], expected: str) -> None:
    assert problems(changed(variants={name: {"init": init} for name, init in inits.items()})) == [
        f"variants.{expected}"
    ]


NOT_CALIBRATED = (
    ": final has learn: all, so no validation photos are left to calibrate on: set calibrated_by to the prediction "
    "whose calibration should be used"
)
NO_PREDICTION = f".calibrated_by: there is no prediction 'margn' (available: phash, {VARIANTS}, new)"


@pytest.mark.parametrize(
    ("networks", "calibrated_by", "expected"),
    [
        (["margn", "full"], None, [f".networks: there is no variant 'margn' (available: {VARIANTS})"]),
        (["full", "full"], None, [".networks: a variant is repeated: list each once"]),
        ([], None, [".networks is empty: list one or more variants. Only phash may be empty"]),
        (["final"], None, [NOT_CALIBRATED]),
        (["margin", "final"], None, [NOT_CALIBRATED]),
        (["full"], "toy", [".calibrated_by: not needed, since no variant in networks has learn: all: remove this key"]),
        *(
            (["final"], name, [f".calibrated_by: {name} has no calibration of its own: choose a prediction that has"])
            for name in ("phash", "new", "final")
        ),
        (["final"], "margn", [NO_PREDICTION]),
        (
            ["final"],
            "threshold",
            [
                f".calibrated_by: threshold has the scores [['class', 'duplicates']], but new has [{ALL_SCORES}]: set "
                "the same scores for both, variant by variant"
            ],
        ),
        (
            ["final", "toy"],
            "margin",
            [
                f".calibrated_by: margin has the scores [{ALL_SCORES}], but new has [{ALL_SCORES}, ['class']]: set the "
                "same scores for both, variant by variant"
            ],
        ),
        (
            ["tyo", "tyo"],
            "margn",
            [
                f".networks: there is no variant 'tyo' (available: {VARIANTS})",
                ".networks: a variant is repeated: list each once",
                NO_PREDICTION,
            ],
        ),
    ],
)
def test_invalid_predictions(networks: list[str], calibrated_by: str | None, expected: list[str]) -> None:
    document = changed(predictions={"new": {"networks": networks, "calibrated_by": calibrated_by}})
    assert problems(document) == [f"predictions.new{line}" for line in expected]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("cosface", [": must be a valid dictionary or instance of Loss, got 'cosface'"]),
        (
            {"kind": "sofmax", "scale": 24, "margin": 0, "centres": 1},
            [".kind: must be 'softmax', 'cosface', 'arcface' or 'triplet', got 'sofmax'"],
        ),
        ({"scale": 24, "margin": 0.3}, [".kind: missing", ".centres: missing"]),
        (
            {"kind": "arcface", "scale": 0, "margin": 3, "centres": 0},
            [
                ".scale: must be greater than 0, got 0",
                ".margin: must be less than or equal to 2, got 3",
                ".centres: must be greater than or equal to 1, got 0",
            ],
        ),
        (
            {"kind": "softmax", "scale": 24, "margin": 0.3, "centres": 3},
            [
                ".margin: softmax has no margin: set it to 0, or set kind to cosface or arcface",
                ".centres: softmax uses one centre per class: set it to 1, or set kind to arcface",
            ],
        ),
        *(
            (
                {"kind": kind, "scale": 24, "margin": 0, "centres": 1},
                [f".margin: {kind} needs a margin: set it above 0, or set kind to softmax"],
            )
            for kind in ("cosface", "arcface", "triplet")
        ),
    ],
)
def test_invalid_losses(loss: object, expected: list[str]) -> None:
    document = changed()
    document["variants"]["margin"]["train"]["loss"] = loss
    assert problems(document) == [f"variants.margin.train.loss{line}" for line in expected]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (["class", "nearst"], ["must be 'class', 'nearest', 'centroid' or 'duplicates', got 'nearst'"]),
        (
            ["clas", "nearst"],
            [f"must be 'class', 'nearest', 'centroid' or 'duplicates', got '{score}'" for score in ("clas", "nearst")],
        ),
        ([], ["list should have at least 1 item after validation, not 0, got []"]),
        (["class", "class"], ["a score is repeated: list each once"]),
    ],
)
def test_invalid_scores(scores: list[str], expected: list[str]) -> None:
    assert problems(changed(variants={"toy": {"scores": scores}})) == [
        f"variants.toy.scores: {line}" for line in expected
    ]


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        *(
            ({"per_whale": count}, [f"batch_size: 32 is not a multiple of per_whale ({count}): change one of them"])
            for count in (3, 64)
        ),
        (
            {"per_whale": 32},
            [
                "batch_size: 32 is too small for two whales with 32 photos each (per_whale): double it, or lower "
                "per_whale"
            ],
        ),
        ({"loss": TRIPLET}, ["per_whale: the triplet loss compares photos of the same whale: set it to 2 or more"]),
        (
            {"loss": TRIPLET, "per_whale": 4, "new_whale": True},
            ["new_whale: the triplet loss needs one whale per class, but new_whale has many: set it to false"],
        ),
        (
            {"loss": TRIPLET, "layers": "last", "per_whale": 5},
            [
                "batch_size: 32 is not a multiple of per_whale (5): change one of them",
                "layers: the triplet loss does not train the last layer: set it to all or upper",
            ],
        ),
    ],
)
def test_contradictions_in_a_training(train: dict[str, object], expected: list[str]) -> None:
    document = changed(variants={"margin": {"train": train | {"batch_size": 32}}})
    assert problems(document) == [f"variants.margin.train.{line}" for line in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a: [", "is not valid YAML"), ("", "contains no keys"), ("- 1", "contains no keys"), (None, "does not exist")],
)
def test_files_that_are_not_a_mapping(tmp_path: Path, text: str | None, expected: str) -> None:
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(WhaleidError, match=expected):
        config.load(path)


def test_a_long_list_of_problems_is_shortened() -> None:
    error = str(InputProblems("Rows are wrong", [f"row {n}" for n in range(25)], "Fix them."))
    assert error.startswith("Rows are wrong (25):\n  row 0\n")
    assert "  row 19\n  … and 5 more\nFix them." in error


def test_yaml_anchors_let_a_variant_list_only_its_differences() -> None:
    before = "\n  margin:\n    init: full\n    learn: train\n    train:\n"
    after = "\n  margin: &margin\n    init: full\n    learn: train\n    train: &train\n"
    mark = "\n# Predictions: "
    assert before in TEXT
    assert mark in TEXT
    loss = "{kind: arcface, scale: 24, margin: 0.3, centres: 1}"
    arcface = f"  arcface:\n    <<: *margin\n    train: {{<<: *train, loss: {loss}}}\n"
    document = config.parse(TEXT.replace(before, after).replace(mark, f"{arcface}{mark}"))
    variants = config.check(document, Path("params.yaml")).variants
    margin = variants["margin"]
    train = margin.train.model_copy(update={"loss": config.Loss(kind="arcface", scale=24, margin=0.3, centres=1)})
    assert variants["arcface"] == margin.model_copy(update={"train": train})
    assert margin.train.loss.kind == "cosface"
