"""What is told of the keys of `params.yaml` is what its types enforce, and docs/parameters.md tells the same."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from pydantic import ValidationError
from ruamel.yaml import YAML

from whaleid import explain, preset
from whaleid.config import Params, check, leaves
from whaleid.core.errors import WhaleidError

KEYS = {key.name: key for key in explain.every_key()}
DOCUMENT = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
NOW = leaves(DOCUMENT)
PRESETS = {name: leaves(sets) for name, sets in preset.known().items()}
VARIANTS = ["toy", "full", "threshold", "margin", "final"]
PREDICTIONS = ["phash", "toy", "full", "threshold", "margin", "final"]
NAMES = {"variants": VARIANTS, "predictions": PREDICTIONS}
RANGE = re.compile(r"(whole )?number (from|above) (\d\S*?)(?:,? ?(?:up )?to (\d+))?(?=, or |$)")
NUMBERS = [name for name, key in KEYS.items() if "number" in key.takes]


def said(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [sys.executable, "-m", "whaleid", "explain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def wrong(name: str, value: object) -> bool:
    """Tell whether the types refuse a value of a key, whatever the other keys are."""
    document = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    *sections, last = KEYS[name].of("final").split(".")
    section = document
    for part in sections:
        section = section[part]
    assert last in section
    section[last] = value
    try:
        Params.model_validate(document)
    except ValidationError as error:
        # a value that contradicts another key's has passed the types
        return any(each["type"] != "value_error" for each in error.errors())
    return False


def test_every_key_of_the_file_is_told_and_no_other() -> None:
    told = {name for key in KEYS.values() for name in map(key.of, NAMES.get(key.section, [""]))}
    assert NOW.keys() <= told
    # what only a prediction needs that is not calibrated itself
    assert told - NOW.keys() == {
        f"predictions.{name}.calibrated_by" for name in ("phash", "toy", "full", "threshold", "margin")
    }


def test_names_are_those_of_the_file() -> None:
    assert explain.names(NOW) == NAMES
    assert explain.names({}) == {"variants": [], "predictions": []}
    assert explain.names(leaves({"variants": {"new": {"init": 3}}})) == {"variants": ["new"], "predictions": []}


@pytest.mark.parametrize("name", KEYS)
def test_every_key_has_a_meaning(name: str) -> None:
    assert re.fullmatch(r"[A-Z0-9].{8,}\.", KEYS[name].meaning)
    assert KEYS[name].takes


def test_every_part_of_the_file_says_what_it_is_about() -> None:
    assert explain.sections().keys() == {name for name, value in DOCUMENT.items() if isinstance(value, dict)}


@pytest.mark.parametrize("name", NUMBERS)
def test_the_range_told_is_the_range_enforced(name: str) -> None:
    match = RANGE.match(KEYS[name].takes)
    assert match, KEYS[name].takes
    whole, low, least, most = match.groups()
    first, last = float(least), float(most) if most else math.inf
    if whole:
        assert not wrong(name, int(first))
        assert wrong(name, int(first) - 1)
        assert wrong(name, first + 0.5)
        assert not wrong(name, int(last) if most else 10**12)
        assert most is None or wrong(name, int(last) + 1)
        return
    assert wrong(name, first) == (low == "above")
    assert not wrong(name, math.nextafter(first, math.inf))
    assert wrong(name, math.nextafter(first, -math.inf))
    assert not wrong(name, last)
    assert wrong(name, math.nextafter(last, math.inf))


@pytest.mark.parametrize("name", [name for name in KEYS if name not in NUMBERS])
def test_the_choices_told_are_those_enforced(name: str) -> None:
    takes = KEYS[name].takes
    if takes == "true or false":
        assert not wrong(name, True)
        assert not wrong(name, False)
        assert wrong(name, "true")
    elif takes == "text":
        assert not wrong(name, "any")
        assert wrong(name, "")
        assert wrong(name, 1)
    elif takes.startswith("list of "):
        number, _, of = takes.removeprefix("list of ").partition(" or more: ")
        many, least = of.split(", ") if of != "text" else ["a", "b"], int(number)
        assert not wrong(name, many[:least])
        assert least == 0 or wrong(name, many[: least - 1])
        assert not wrong(name, many * 2)
        assert wrong(name, ["no such"] * len(many)) == (of != "text")
        assert wrong(name, [""])
        assert wrong(name, many[0])
    else:
        for choice in re.split(", | or ", takes):
            assert not wrong(name, choice)
        assert wrong(name, "no such")


@pytest.mark.parametrize("name", [name for name in NUMBERS if ", or " in KEYS[name].takes])
def test_the_word_that_a_number_may_be_is_taken(name: str) -> None:
    assert not wrong(name, KEYS[name].takes.rpartition(", or ")[2])
    assert wrong(name, "no such")


def test_presets_set_only_keys_that_there_are() -> None:
    of_variants = {name for name, key in KEYS.items() if key.section == "variants"}
    for name, sets in PRESETS.items():
        added = {each for each in explain.names(sets)["variants"] if each not in VARIANTS}
        assert added == ({"pairs", "final_pairs"} if name == "real" else set())
        for variant in added:  # a variant that the file has not is there with every key
            assert {key for key in sets if key.startswith(f"variants.{variant}.")} == {
                KEYS[key].of(variant) for key in of_variants
            }
        known = {each for key in KEYS.values() for each in map(key.of, [*VARIANTS, *added, *PREDICTIONS, "ensemble"])}
        assert sets.keys() <= known


def test_the_committed_page_is_the_one_that_is_generated() -> None:
    page = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    assert page == explain.markdown(NOW, PRESETS, NAMES), "run `whaleid explain --markdown > docs/parameters.md`"
    for line in (
        "| whole number from 16 to 1024 | pixels | 48 (real: 144) |",
        "| key | toy | full | threshold | margin | final |",
        "| `variants.VARIANT.train.epochs` | 3 (real: 12) | 9 (real: 4) | 8 (real: 3) | 9 (real: 24) | 2 (real: 4) |",
        "| `variants.VARIANT.init` | backbone | toy | full | full (real: pairs) | margin |",
        "| key | phash | toy | full | threshold | margin | final |",
        "| `predictions.PREDICTION.networks` "
        "| [] | [toy] | [full] | [threshold] | [margin] | [final] (real: [final, final_pairs]) |",
        "| `predictions.PREDICTION.calibrated_by` |  |  |  |  |  | margin (real: ensemble) |",
        "| `boxes.steps` | Steps of training. | whole number from 1 |  | 100 (real: 800) |",
    ):
        assert line in page


def names(asked: str) -> list[str]:
    return [key.of(entries[0]) if len(entries) == 1 else key.name for key, entries in explain.find(asked, NAMES)]


def test_keys_are_found_by_themselves_by_their_part_and_by_variant() -> None:
    assert names("threshold") == ["threshold"]
    assert names("boxes") == ["boxes.size", "boxes.steps", "boxes.batch_size", "boxes.lr"]
    assert names("variants.margin.train.lr") == ["variants.margin.train.lr"]
    assert names("variants.train.lr") == names("variants.VARIANT.train.lr") == ["variants.VARIANT.train.lr"]
    assert names("variants.train.loss.margin") == ["variants.VARIANT.train.loss.margin"]
    assert names("variants.final.train.loss") == [
        f"variants.final.train.loss.{key}" for key in ("kind", "scale", "margin", "centres")
    ]
    assert names("variants.margin.embed") == ["variants.margin.embed.zoom", "variants.margin.embed.tilt"]
    assert len(names("variants")) == len(names("variants.toy")) == 22
    assert names("predictions") == names("predictions.PREDICTION")
    assert names("predictions") == ["predictions.PREDICTION.networks", "predictions.PREDICTION.calibrated_by"]
    assert names("predictions.final.calibrated_by") == ["predictions.final.calibrated_by"]
    assert names("predictions.networks") == ["predictions.PREDICTION.networks"]
    assert len(explain.find(None, NAMES)) == len(KEYS)


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("thresold", "; did you mean threshold?"),
        ("paks", "; did you mean pack?"),
        ("width", "; did you mean pack.width?"),
        ("variants.toyy.train.loss.kind", "; did you mean variants.toy.train.loss.kind or "),
        ("variants.margin.lr", "; did you mean variants.margin.train.lr or "),
        ("variants.lr", "; did you mean variants.toy.train.lr or variants.full.train.lr or "),
        ("predictions.finale.networks", "; did you mean predictions.final.networks or "),
        ("prediction", "; did you mean predictions?"),
        ("pack.widht", "; did you mean pack.width or "),
        ("pack.", "; did you mean pack or "),
        ("", "."),
        ("xyz", "."),
    ],
)
def test_a_wrong_key_is_refused_with_near_ones(asked: str, near: str) -> None:
    with pytest.raises(WhaleidError) as error:
        explain.find(asked, NAMES)
    assert str(error.value).startswith(f"params.yaml has no key {asked!r}{near}")
    assert str(error.value).endswith(" `whaleid explain` shows all.")


def test_one_key_on_the_terminal(project: Callable[..., Params]) -> None:
    project(variants={"margin": {"train": {"lr": 0.004}}})
    assert said("variants.margin.train.lr").stdout == (
        "variants.margin.train.lr\n"
        "  The highest learning rate of the cycle; that of the last layer is ten times as high.\n"
        "  takes          number above 0, up to 1\n"
        "  params.yaml    0.004\n"
        "  preset real    0.003\n"
        "  preset sample  0.003\n"
    )
    assert (
        "  params.yaml    toy 0.002, full 0.003, threshold 0.0005, margin 0.004, final 0.0005\n"
        in said("variants.train.lr").stdout
    )
    assert "  params.yaml    true\n" in said("pack.crop").stdout


def test_outside_a_project_presets_speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = said("pack.width").stdout
    assert "params.yaml" not in told
    assert told.endswith("  preset real    144\n  preset sample  48\n")


def test_a_file_with_wrong_values_is_explained_as_well(project: Callable[..., Params]) -> None:
    project()
    Path("params.yaml").write_text("threshold: 3\npack: 4\n", encoding="utf-8")
    with pytest.raises(WhaleidError):
        check({"threshold": 3}, Path("params.yaml"))
    assert "  takes          number from 0 to 1, or auto\n" in said("threshold").stdout
    assert "  params.yaml    3\n" in said("threshold").stdout
    assert "  preset real    144\n" in said("pack.width").stdout


def test_all_keys_in_a_table_and_as_a_page(project: Callable[..., Params]) -> None:
    project()
    lines = said().stdout.splitlines()
    assert lines[0].split() == ["key", "value", "takes", "meaning"]
    assert [line.split()[0] for line in lines if re.match(r"[a-z]", line)][1:] == list(KEYS)
    assert max(map(len, lines)) <= 120
    assert said("--markdown").stdout.startswith("# Parameters\n")
    refused = said("pack", "--markdown")
    assert refused.returncode == 2
    assert "leave KEY out" in refused.stderr


def test_a_wrong_key_ends_plainly(project: Callable[..., Params]) -> None:
    project()
    ended = said("pakc")
    assert ended.returncode == 1
    assert ended.stderr == "error: params.yaml has no key 'pakc'; did you mean pack? `whaleid explain` shows all.\n"
