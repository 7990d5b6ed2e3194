"""`params.yaml` is right, or one error names all that is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.project import ROOT, ensemble

from whaleid import config
from whaleid.core.errors import InputProblems, WhaleidError

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
COSFACE = "{kind: cosface, scale: 24, margin: 0.3, centres: 1}"
TRIPLET = {"kind": "triplet", "scale": 16, "margin": 0.3, "centres": 1}


def refusal(tmp_path: Path, *changes: tuple[str, str]) -> str:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WhaleidError) as error:
        config.load(path)
    return str(error.value)


def test_the_projects_own_file_is_right() -> None:
    found = config.load(ROOT / "params.yaml")
    assert found.threshold == "auto"
    assert list(found.variants) == ["toy", "full", "threshold", "margin", "final"]
    assert found.variants["full"].init == "toy"
    assert found.variants["toy"].train.whales == 56
    assert found.variants["margin"].train.loss == config.Loss(kind="cosface", scale=24, margin=0.3, centres=1)
    assert (found.variants["final"].init, found.variants["final"].learn) == ("margin", "all")
    assert (found.variants["margin"].learn, found.variants["margin"].embed.zoom) == ("train", 1.0)
    assert found.predictions == {
        "phash": config.Prediction(networks=[]),
        "toy": config.Prediction(networks=["toy"]),
        "full": config.Prediction(networks=["full"]),
        "threshold": config.Prediction(networks=["threshold"]),
        "margin": config.Prediction(networks=["margin"]),
        "final": config.Prediction(networks=["final"], calibrated_by="margin"),
    }
    assert found.boxes == config.Boxes(size=32, steps=100, batch_size=64, lr=0.003)


def test_where_a_prediction_takes_its_calibration_from(project: Callable[..., config.Params]) -> None:
    found = project(**ensemble())
    assert found.calibration_of("margin") == "margin"
    assert found.calibration_of("final") == "ensemble"
    assert found.decision_of("margin") == Path("calibrations/margin/decision.json")
    assert found.decision_of("ensemble") == found.decision_of("final") == Path("rankings/ensemble/decision.json")
    assert found.decision_of("phash") == Path("data/dedup/leaks.csv")
    assert found.scores_of("toy") == [["class"]]
    assert found.scores_of("final") == [["class", "nearest", "centroid", "duplicates"]] * 2
    assert found.scores_of("phash") == []


@pytest.mark.parametrize("value", [0, 1, 0.2])
def test_a_threshold_may_be_a_number(tmp_path: Path, value: float) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("threshold: auto", f"threshold: {value}", 1), encoding="utf-8")
    assert config.load(path).threshold == value


def test_threshold_out_of_range(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("threshold: auto", "threshold: 1.5"))
    assert "  threshold: input should be less than or equal to 1 or 'auto', got 1.5\n" in said


def test_misspelt_key_is_told_with_the_right_one(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("threshold: auto", "thresold: 0.2"))
    assert "thresold: no such key; did you mean 'threshold'?" in said
    assert "threshold: missing" in said


def test_all_problems_at_once(tmp_path: Path) -> None:
    said = refusal(
        tmp_path,
        ("grey: true", "grey: 3"),
        ("whales: 56", "whales: many"),
        ("epochs: 8", "epochz: 8"),
        ("seed: 0", "seed: -1"),
    )
    assert "(5)" in said
    assert "pack.grey: input should be a valid boolean, got 3" in said
    assert "variants.toy.train.whales: input should be a valid integer or 'all', got 'many'" in said
    assert "variants.threshold.train.epochz: no such key; did you mean 'epochs'?" in said
    assert "variants.threshold.train.epochs: missing" in said
    assert "seed: input should be greater than or equal to 0, got -1" in said


def test_init_that_does_not_exist(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("init: toy", "init: tyo"))
    assert (
        "variants.full.init: there is no variant 'tyo' (there are: backbone, toy, full, threshold, margin, final)"
        in said
    )


def test_init_in_a_circle(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("init: backbone", "init: threshold"))
    # once, though each of the three is in it and `margin` and `final` lead into it
    line = "variants.full.init: goes in a circle: full → toy → threshold → full. Start one of them from backbone"
    assert f" has wrong values (1):\n  {line}\n" in said


def test_init_that_is_the_variant_itself(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("init: backbone", "init: toy"))
    assert (
        " has wrong values (1):\n  variants.toy.init: goes in a circle: toy → toy. Start one of them from backbone\n"
        in said
    )


def test_an_init_that_has_learnt_validations_photos(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("init: toy", "init: final"))
    assert (
        "\n  variants.full.init: final learns validation's photos too (learn: all), so what starts from it cannot be "
        "validated: set learn: all here as well, or start from another variant\n"
    ) in said


def test_what_learns_all_may_start_from_what_does(project: Callable[..., config.Params]) -> None:
    final = config.load(ROOT / "params.yaml").variants["final"].model_dump()
    found = project(variants={"longer": {**final, "init": "final"}})
    assert found.variants["longer"].init == "final"


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        (
            {"networks": ["margn", "full"]},
            [".networks: there is no variant 'margn' (there are: toy, full, threshold, margin, final)"],
        ),
        ({"networks": ["full", "full"]}, [".networks: names a variant twice"]),
        ({"networks": []}, [".networks: is empty: name one variant or more; only phash decides without a network"]),
        (
            {"networks": ["final"]},
            [
                ": final learns validation's photos too (learn: all), so nothing is left to calibrate it on: name the "
                "prediction whose calibration it takes in calibrated_by"
            ],
        ),
        (
            {"networks": ["margin", "final"]},
            [
                ": final learns validation's photos too (learn: all), so nothing is left to calibrate it on: name the "
                "prediction whose calibration it takes in calibrated_by"
            ],
        ),
        (
            {"networks": ["full"], "calibrated_by": "toy"},
            [".calibrated_by: none of its networks learns all: leave this out, it is calibrated itself"],
        ),
        (
            {"networks": ["final"], "calibrated_by": "phash"},
            [".calibrated_by: phash is not calibrated itself: name a prediction that is"],
        ),
        (
            {"networks": ["final"], "calibrated_by": "new"},
            [".calibrated_by: new is not calibrated itself: name a prediction that is"],
        ),
        (
            {"networks": ["final"], "calibrated_by": "final"},
            [".calibrated_by: final is not calibrated itself: name a prediction that is"],
        ),
        (
            {"networks": ["final"], "calibrated_by": "margn"},
            [
                ".calibrated_by: there is no prediction 'margn' (there are: phash, toy, full, threshold, margin, "
                "final, new)"
            ],
        ),
        (
            {"networks": ["final"], "calibrated_by": "threshold"},
            [
                ".calibrated_by: threshold combines other scores ([['class', 'duplicates']]) than the networks of new "
                "have ([['class', 'nearest', 'centroid', 'duplicates']]): give both the same, network by network"
            ],
        ),
        (
            {"networks": ["final", "toy"], "calibrated_by": "margin"},
            [
                ".calibrated_by: margin combines other scores ([['class', 'nearest', 'centroid', 'duplicates']]) than "
                "the networks of new have ([['class', 'nearest', 'centroid', 'duplicates'], ['class']]): give both "
                "the same, network by network"
            ],
        ),
        (
            {"networks": ["tyo", "tyo"], "calibrated_by": "margn"},
            [
                ".networks: there is no variant 'tyo' (there are: toy, full, threshold, margin, final)",
                ".networks: names a variant twice",
                ".calibrated_by: there is no prediction 'margn' (there are: phash, toy, full, threshold, margin, "
                "final, new)",
            ],
        ),
    ],
)
def test_a_prediction_that_cannot_be_made(
    project: Callable[..., config.Params], prediction: dict[str, object], said: list[str]
) -> None:
    with pytest.raises(InputProblems) as caught:
        project(predictions={"new": prediction})
    assert caught.value.where == [f"predictions.new{line}" for line in said]


def test_phash_with_a_network(project: Callable[..., config.Params]) -> None:
    with pytest.raises(InputProblems) as caught:
        project(predictions={"phash": {"networks": ["toy"]}})
    assert caught.value.where == [
        "predictions.phash.networks: phash decides by duplicates alone: leave it empty, or take another name"
    ]


def test_a_project_may_do_without_phash(tmp_path: Path) -> None:
    assert "\n  phash: {networks: []} " in TEXT
    lines = [line for line in TEXT.splitlines() if not line.startswith("  phash: ")]
    (tmp_path / "params.yaml").write_text("\n".join(lines), encoding="utf-8")
    assert "phash" not in config.load(tmp_path / "params.yaml").predictions


@pytest.mark.parametrize("name", ["a/b", "a b", "../up", "a.b", "3d", ""])
def test_names_that_no_prediction_can_have(project: Callable[..., config.Params], name: str) -> None:
    with pytest.raises(InputProblems) as caught:
        project(predictions={name: {"networks": ["toy"]}})
    assert caught.value.where == [
        f"predictions.{name}: a name begins with a letter or _ and holds letters, digits, - and _"
    ]


def test_the_prediction_that_is_bundled_is_there(tmp_path: Path) -> None:
    said = refusal(
        tmp_path, ("\n  final: {networks: [final], calibrated_by: margin}", "\n  last: {networks: [margin]}")
    )
    assert "\n  predictions.final: missing: the stage bundle makes models/final.bundle from it\n" in said


def test_an_ensemble_may_have_three_members(project: Callable[..., config.Params]) -> None:
    found = project(predictions={"three": {"networks": ["toy", "full", "margin"]}})
    assert found.decision_of("three") == Path("rankings/three/decision.json")


def test_keys_of_a_prediction_are_checked_as_well(project: Callable[..., config.Params]) -> None:
    with pytest.raises(InputProblems) as caught:
        project(predictions={"margin": {"networks": "margin", "calibratedby": "toy"}, "new": {}})
    assert caught.value.where == [
        "predictions.margin.networks: input should be a valid list, got 'margin'",
        "predictions.margin.calibratedby: no such key; did you mean 'calibrated_by'?",
        "predictions.new.networks: missing",
    ]


FORMER = """\
threshold: auto
seed: 0
ensemble: [margin, pairs]
final:
  epochs: 6
variants:
  margin: &margin
    init: backbone
    whales: all
    photos: all
    min_photos: 1
    new_whale: false
    flip: identity
    augment: true
    loss: {kind: cosface, scale: 24, margin: 0.3, centres: 1}
    min_views: 1
    per_whale: 1
    layers: all
    epochs: 10
    batch: 32
    rate: 0.002
    decay: 0.0005
    zoom: 1.0
    tilt: 0.0
    scores: [class, nearest, centroid, duplicates]
  pairs:
    <<: *margin
    min_photos: 2
"""
"""Of a `params.yaml` before variants had `train` and `embed`, what is called otherwise now."""


def test_keys_of_a_former_version_are_listed_with_their_new_names(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(FORMER, encoding="utf-8")
    with pytest.raises(InputProblems) as caught:
        config.load(path)
    train = {"whales": "whales", "photos": "photos", "min_photos": "min_photos", "new_whale": "new_whale"}
    train |= {"flip": "flip", "augment": "augment", "loss": "loss", "min_views": "oversample"}
    train |= {"per_whale": "per_whale", "layers": "layers", "epochs": "epochs"}
    train |= {"batch": "batch_size", "rate": "lr", "decay": "weight_decay"}
    expected = [f"{key}: now variants.NAME.train.{now}" for key, now in train.items()]
    expected += [f"{key}: now variants.NAME.embed.{key}" for key in ("zoom", "tilt")]
    lines = {name: {line.replace("NAME", name) for line in expected} for name in ("margin", "pairs")}
    for name in lines:
        prefix = f"variants.{name}."
        assert {line.removeprefix(prefix) for line in caught.value.where if line.startswith(prefix)} == lines[name]
    assert caught.value.where[:2] == [
        "ensemble: now predictions.ensemble.networks",
        "final: now a variant with learn: all (variants.final) and a prediction with calibrated_by (predictions.final)",
    ]
    assert str(caught.value).startswith(f"{path} has keys of a former version (34):\n")
    assert str(caught.value).endswith(
        "\nRename them: docs/reference.md lists every key, and params.yaml as committed has them all."
    )


def test_one_variant_of_a_former_version_is_enough(project: Callable[..., config.Params]) -> None:
    with pytest.raises(InputProblems) as caught:
        project(variants={"margin": {"rate": 0.004, "batch": 64}})
    assert caught.value.where == [
        "variants.margin.rate: now variants.margin.train.lr",
        "variants.margin.batch: now variants.margin.train.batch_size",
    ]


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            "{kind: sofmax, scale: 24, margin: 0, centres: 1}",
            ["kind: input should be 'softmax', 'cosface', 'arcface' or 'triplet', got 'sofmax'"],
        ),
        ("{scale: 24, margin: 0.3}", ["kind: missing", "centres: missing"]),
        (
            "{kind: arcface, scale: 24, margn: 0.3, centres: 1}",
            ["margin: missing", "margn: no such key; did you mean 'margin'?"],
        ),
        (
            "{kind: arcface, scale: 0, margin: 3, centres: 0}",
            [
                "scale: input should be greater than 0, got 0",
                "margin: input should be less than or equal to 2, got 3",
                "centres: input should be greater than or equal to 1, got 0",
            ],
        ),
        (
            "{kind: softmax, scale: 24, margin: 0.3, centres: 3}",
            [
                "margin: softmax has no margin: set it to 0, or set kind to cosface or arcface",
                "centres: softmax has one centre a class: set it to 1, or set kind to arcface",
            ],
        ),
    ],
)
def test_a_loss_that_is_wrong_is_told_by_its_keys(tmp_path: Path, loss: str, said: list[str]) -> None:
    lines = "\n".join(f"  variants.margin.train.loss.{line}" for line in said)
    assert refusal(tmp_path, (f"loss: {COSFACE}", f"loss: {loss}")).endswith(
        f"params.yaml has wrong values ({len(said)}):\n{lines}\nFix these keys: docs/reference.md says what each takes."
    )


def test_a_loss_by_its_kind_alone(tmp_path: Path) -> None:
    said = refusal(tmp_path, (f"loss: {COSFACE}", "loss: cosface"))
    assert (
        "\n  variants.margin.train.loss: input should be a valid dictionary or instance of Loss, got 'cosface'\n"
        in said
    )


def test_keys_of_a_variant_that_is_no_section(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("\nvariants:\n", "\nvariants: 3\nold:\n"))
    assert "\n  variants: input should be a valid dictionary, got 3\n" in said


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ("[class, nearst]", "input should be 'class', 'nearest', 'centroid' or 'duplicates', got 'nearst'"),
        (
            "[clas, nearst]",
            "input should be 'class', 'nearest', 'centroid' or 'duplicates', got 'clas'\n  variants.margin.scores: "
            "input should be 'class', 'nearest', 'centroid' or 'duplicates', got 'nearst'",
        ),
        ("[]", "list should have at least 1 item after validation, not 0, got []"),
    ],
)
def test_scores_that_there_are_not(tmp_path: Path, scores: str, said: str) -> None:
    found = refusal(tmp_path, ("scores: [class, nearest, centroid, duplicates]", f"scores: {scores}"))
    assert f"\n  variants.margin.scores: {said}\n" in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"per_whale": 3}, ["train.batch_size: 32 is no multiple of per_whale (3): change one of them"]),
        (
            {"per_whale": 32},
            [
                "train.batch_size: 32 has no room for two whales with 32 photos each (per_whale): double it, or lower "
                "per_whale"
            ],
        ),
        ({"per_whale": 64}, ["train.batch_size: 32 is no multiple of per_whale (64): change one of them"]),
        ({"loss": TRIPLET}, ["train.per_whale: the loss triplet compares photos of one whale: set it to 2 or more"]),
        (
            {"loss": {"margin": 0}},
            ["train.loss.margin: cosface needs a margin: set it above 0, or set kind to softmax"],
        ),
        (
            {"loss": {"kind": "arcface", "margin": 0.0}},
            ["train.loss.margin: arcface needs a margin: set it above 0, or set kind to softmax"],
        ),
        (
            {"loss": TRIPLET | {"margin": 0}, "per_whale": 4},
            ["train.loss.margin: triplet needs a margin: set it above 0, or set kind to softmax"],
        ),
        (
            {"loss": TRIPLET, "per_whale": 4, "new_whale": True},
            ["train.new_whale: the loss triplet takes a class for one whale, and new_whale is none: set it to false"],
        ),
        (
            {"loss": TRIPLET, "layers": "last", "per_whale": 5},
            [
                "train.batch_size: 32 is no multiple of per_whale (5): change one of them",
                "train.layers: the loss triplet does not train the last layer: set it to all or upper",
            ],
        ),
    ],
)
def test_keys_of_a_variant_that_contradict_each_other(
    project: Callable[..., config.Params], changes: dict[str, object], said: list[str]
) -> None:
    with pytest.raises(InputProblems) as caught:
        project(variants={"margin": {"train": changes | {"batch_size": 32}}})
    assert caught.value.where == [f"variants.margin.{line}" for line in said]


def test_triplet_with_photos_together(project: Callable[..., config.Params]) -> None:
    found = project(variants={"margin": {"train": {"loss": TRIPLET, "per_whale": 16, "batch_size": 32}}})
    assert found.variants["margin"].train.loss.kind == "triplet"


def test_a_score_named_twice(project: Callable[..., config.Params]) -> None:
    with pytest.raises(InputProblems) as caught:
        project(variants={"toy": {"scores": ["class", "class"]}})
    assert caught.value.where == ["variants.toy.scores: one of them is repeated: name each once"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *((name, "the names backbone, boxes, pictures are reserved: take another one") for name in config.RESERVED),
        *((name, config.NAMES) for name in ("a/b", "a.b", "../up")),
    ],
)
def test_names_that_no_variant_can_have(tmp_path: Path, name: str, said: str) -> None:
    assert f"variants.{name}: {said}\n" in refusal(tmp_path, ("  threshold:\n", f"  {name}:\n"))


@pytest.mark.parametrize("name", ["phash", "ensemble", "explore", "photos", "thumbnails"])
def test_names_that_no_file_of_a_variants_has_are_free(tmp_path: Path, name: str) -> None:
    text = TEXT.replace("\n  threshold:\n", f"\n  {name}:\n", 1).replace("{networks: [threshold]}", "{networks: [toy]}")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert name in config.load(tmp_path / "params.yaml").variants


@pytest.mark.parametrize(("text", "said"), [("a: [", "no valid YAML"), ("", "holds no keys"), ("- 1", "holds no keys")])
def test_no_mapping(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WhaleidError, match=said):
        config.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(WhaleidError, match="does not exist"):
        config.load(tmp_path / "params.yaml")


def test_a_long_list_of_problems_is_counted() -> None:
    said = str(InputProblems("Rows are wrong", [f"row {n}" for n in range(25)], "Mend them."))
    assert said.startswith("Rows are wrong (25):\n  row 0\n")
    assert "  row 19\n  … and 5 more\nMend them." in said


def test_a_variant_may_name_only_what_differs_from_another(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    loss = "{kind: arcface, scale: 24, margin: 0.3, centres: 1}"
    assert "\n  margin:\n    init: full\n    learn: train\n    train:\n" in TEXT
    text = TEXT.replace(
        "\n  margin:\n    init: full\n    learn: train\n    train:\n",
        "\n  margin: &margin\n    init: full\n    learn: train\n    train: &train\n",
    )
    arcface = f"  arcface:\n    <<: *margin\n    train: {{<<: *train, loss: {loss}}}\n"
    mark = "\n# Which networks decide together"
    assert mark in text
    path.write_text(text.replace(mark, f"{arcface}{mark}"), encoding="utf-8")
    variants = config.load(path).variants
    margin, arcface_loss = variants["margin"], variants["arcface"].train.loss
    assert arcface_loss.kind == "arcface"
    assert variants["arcface"] == margin.model_copy(
        update={"train": margin.train.model_copy(update={"loss": arcface_loss})}
    )
    assert margin.train.loss.kind == "cosface"
