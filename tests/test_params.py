"""`params.yaml` is right, or one error names all that is wrong."""

from pathlib import Path

import pytest
from conftest import ROOT

from whaleid import params
from whaleid.errors import InputProblems, WhaleidError

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")


def refusal(tmp_path: Path, *changes: tuple[str, str]) -> str:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WhaleidError) as error:
        params.load(path)
    return str(error.value)


def test_the_projects_own_file_is_right() -> None:
    found = params.load(ROOT / "params.yaml")
    assert found.threshold == "auto"
    assert list(found.variants) == ["toy", "full", "threshold"]
    assert found.variants["full"].init == "toy"
    assert found.variants["toy"].whales == 56


@pytest.mark.parametrize("value", [0, 1, 0.2])
def test_a_threshold_may_be_a_number(tmp_path: Path, value: float) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace("threshold: auto", f"threshold: {value}", 1), encoding="utf-8")
    assert params.load(path).threshold == value


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
    assert "variants.full.init: there is no variant 'tyo' (there are: backbone, toy, full, threshold)" in said


def test_init_in_a_circle(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("init: backbone", "init: threshold"))
    assert "variants.toy.init: goes in a circle: toy → threshold → full → toy" in said


@pytest.mark.parametrize("name", ["phash", "backbone", "a/b"])
def test_names_that_no_variant_can_have(tmp_path: Path, name: str) -> None:
    assert f"variants.{name}: this name is taken" in refusal(tmp_path, ("  threshold:\n", f"  {name}:\n"))


@pytest.mark.parametrize(("text", "said"), [("a: [", "no valid YAML"), ("", "holds no keys"), ("- 1", "holds no keys")])
def test_no_mapping(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WhaleidError, match=said):
        params.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(WhaleidError, match="is not here"):
        params.load(tmp_path / "params.yaml")


def test_a_long_list_of_problems_is_counted() -> None:
    said = str(InputProblems("Rows are wrong", [f"row {n}" for n in range(25)], "Mend them."))
    assert said.startswith("Rows are wrong (25):\n  row 0\n")
    assert "  row 19\n  … and 5 more\nMend them." in said
