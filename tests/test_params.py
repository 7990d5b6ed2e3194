"""`params.yaml` is right, or one error names all that is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

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
    assert list(found.variants) == ["toy", "full", "threshold", "margin", "pairs"]
    assert found.variants["full"].init == "toy"
    assert found.variants["toy"].whales == 56
    assert found.variants["margin"].loss == config.Loss(kind="cosface", scale=24, margin=0.3, centres=1)


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
    assert "variants.toy.whales: input should be a valid integer or 'all', got 'many'" in said
    assert "variants.threshold.epochz: no such key; did you mean 'epochs'?" in said
    assert "variants.threshold.epochs: missing" in said
    assert "seed: input should be greater than or equal to 0, got -1" in said


def test_init_that_does_not_exist(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("init: toy", "init: tyo"))
    assert (
        "variants.full.init: there is no variant 'tyo' (there are: backbone, toy, full, threshold, margin, pairs)"
        in said
    )


def test_init_in_a_circle(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("init: backbone", "init: threshold"))
    assert "variants.toy.init: goes in a circle: toy → threshold → full → toy" in said


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("[margn, pairs]", "there is no variant 'margn' (there are: toy, full, threshold, margin, pairs)"),
        ("[pairs, pairs]", "names 'pairs' twice: name two variants"),
        ("[pairs]", "list should have at least 2 items after validation, not 1, got ['pairs']"),
    ],
)
def test_an_ensemble_of_other_than_two_variants(tmp_path: Path, named: str, said: str) -> None:
    assert f"\n  ensemble: {said}\n" in refusal(tmp_path, ("ensemble: [margin, pairs]", f"ensemble: {named}"))


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
                "margin: softmax has none: set 0, or take cosface or arcface",
                "centres: softmax has one a class: set 1, or take arcface",
            ],
        ),
    ],
)
def test_a_loss_that_is_wrong_is_told_by_its_keys(tmp_path: Path, loss: str, said: list[str]) -> None:
    lines = "\n".join(f"  variants.margin.loss.{line}" for line in said)
    assert refusal(tmp_path, (f"loss: {COSFACE}", f"loss: {loss}")).endswith(
        f"params.yaml has wrong values ({len(said)}):\n{lines}\n"
        "Mend these keys; `whaleid explain KEY` says what each takes."
    )


def test_a_loss_by_its_kind_alone(tmp_path: Path) -> None:
    said = refusal(tmp_path, (f"loss: {COSFACE}", "loss: cosface"))
    assert "\n  variants.margin.loss: input should be a valid dictionary or instance of Loss, got 'cosface'\n" in said


def test_keys_of_a_variant_that_is_no_section(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("\nvariants:\n", "\nvariants: 3\nold:\n"))
    assert "\n  variants: input should be a valid dictionary, got 3\n" in said


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ("[class, nearst]", "input should be 'class', 'nearest', 'centroid' or 'duplicates', got 'nearst'"),
        ("[]", "list should have at least 1 item after validation, not 0, got []"),
    ],
)
def test_scores_that_there_are_not(tmp_path: Path, scores: str, said: str) -> None:
    found = refusal(tmp_path, ("scores: [class, nearest, centroid, duplicates]", f"scores: {scores}"))
    assert f"\n  variants.margin.scores: {said}\n" in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"per_whale": 3}, ["batch: 32 is no multiple of the 3 photos that are together"]),
        ({"per_whale": 32}, ["batch: 32 holds no two whales with 32 photos together each"]),
        ({"per_whale": 64}, ["batch: 32 is no multiple of the 64 photos that are together"]),
        ({"loss": TRIPLET}, ["per_whale: 1 gives the loss triplet nothing to compare: set 2 or more"]),
        ({"loss": {"margin": 0}}, ["loss.margin: cosface needs one: set it above 0, or take softmax"]),
        (
            {"loss": {"kind": "arcface", "margin": 0.0}},
            ["loss.margin: arcface needs one: set it above 0, or take softmax"],
        ),
        (
            {"loss": TRIPLET | {"margin": 0}, "per_whale": 4},
            ["loss.margin: triplet needs one: set it above 0, or take softmax"],
        ),
        (
            {"loss": TRIPLET, "per_whale": 4, "new_whale": True},
            ["new_whale: the loss triplet draws a class together, and those photos are no whale: set false"],
        ),
        (
            {"loss": TRIPLET, "layers": "last", "per_whale": 5},
            [
                "batch: 32 is no multiple of the 5 photos that are together",
                "layers: the loss triplet does not train the last layer: set all or upper",
            ],
        ),
    ],
)
def test_keys_of_a_variant_that_contradict_each_other(
    project: Callable[..., config.Params], changes: dict[str, object], said: list[str]
) -> None:
    with pytest.raises(InputProblems) as caught:
        project(variants={"margin": changes | {"batch": 32}})
    assert caught.value.where == [f"variants.margin.{line}" for line in said]


def test_triplet_with_photos_together(project: Callable[..., config.Params]) -> None:
    found = project(variants={"margin": {"loss": TRIPLET, "per_whale": 16, "batch": 32}})
    assert found.variants["margin"].loss.kind == "triplet"


@pytest.mark.parametrize("name", ["phash", "backbone", "ensemble", "final", "boxes", "explore", "pictures", "a/b"])
def test_names_that_no_variant_can_have(tmp_path: Path, name: str) -> None:
    assert f"variants.{name}: this name is taken" in refusal(tmp_path, ("  threshold:\n", f"  {name}:\n"))


@pytest.mark.parametrize(("text", "said"), [("a: [", "no valid YAML"), ("", "holds no keys"), ("- 1", "holds no keys")])
def test_no_mapping(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WhaleidError, match=said):
        config.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(WhaleidError, match="is not here"):
        config.load(tmp_path / "params.yaml")


def test_a_long_list_of_problems_is_counted() -> None:
    said = str(InputProblems("Rows are wrong", [f"row {n}" for n in range(25)], "Mend them."))
    assert said.startswith("Rows are wrong (25):\n  row 0\n")
    assert "  row 19\n  … and 5 more\nMend them." in said


def test_a_variant_may_name_only_what_differs_from_another(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    loss = "{kind: arcface, scale: 24, margin: 0.3, centres: 1}"
    assert "\n  margin:\n    init:" in TEXT
    text = TEXT.replace("\n  margin:\n    init:", "\n  margin: &margin\n    init:")
    path.write_text(f"{text}  arcface:\n    <<: *margin\n    loss: {loss}\n", encoding="utf-8")
    variants = config.load(path).variants
    assert variants["arcface"].loss.kind == "arcface"
    assert variants["arcface"] == variants["margin"].model_copy(update={"loss": variants["arcface"].loss})
    assert variants["margin"].loss.kind == "cosface"
