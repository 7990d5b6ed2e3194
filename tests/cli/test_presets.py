"""Presets change the keys that they define and keep all others."""

import re
from pathlib import Path

import pytest
from helpers.project import ROOT
from ruamel.yaml import YAML

from whaleid import config
from whaleid.cli import presets
from whaleid.core.errors import InputProblems, WhaleidError

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
ALL_SCORES = ["class", "nearest", "centroid", "duplicates"]
OWN_VARIANT = """\
  mine:
    init: toy              # my own
    learn: train
    train: {train}
    embed: {{zoom: 0.9, tilt: 5.0}}
    scores: [nearest]
"""
"""A variant that a user added and no preset defines."""


def unaligned(text: str) -> str:
    """Return `text` with one space between each value and its comment."""
    return re.sub(r"(\S) +#", r"\1 #", text)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TEXT, encoding="utf-8")
    return Path("params.yaml")


def test_params_yaml_agrees_with_preset_sample(path: Path) -> None:
    assert presets.apply("sample", path, {}) == []
    assert path.read_text(encoding="utf-8") == TEXT


def test_real_and_back_to_sample(path: Path, tmp_path: Path) -> None:
    whales = tmp_path / "elsewhere" / "whales"
    whales.mkdir(parents=True)
    changes = presets.apply("real", path, {"data.root": "elsewhere/whales"})
    assert "data.root: data/sample → elsewhere/whales" in changes
    assert "backbone.weights: none → DEFAULT" in changes
    params = config.load(path)
    assert params.data.root == "elsewhere/whales"
    assert params.pack.stretch
    assert params.variants["margin"].init == "pairs"
    assert "# catalogue folder, with train.csv" in path.read_text(encoding="utf-8")
    assert (params.boxes.size, params.boxes.steps) == (96, 800)
    changes = presets.apply("sample", path, {})
    assert "data.root: elsewhere/whales → data/sample" in changes
    assert config.load(path) == config.check(YAML(typ="safe").load(TEXT), path)
    assert unaligned(path.read_text(encoding="utf-8")) == unaligned(TEXT)


def test_real_adds_a_second_network_and_an_ensemble(path: Path) -> None:
    Path("whales").mkdir()
    changes = presets.apply("real", path, {"data.root": "whales"})
    assert [line for line in changes if line.endswith(": added")] == [
        "variants.pairs: added",
        "variants.final_pairs: added",
        "predictions.pairs: added",
        "predictions.ensemble: added",
    ]
    assert "predictions.final.networks: ['final'] → ['final', 'final_pairs']" in changes
    assert "predictions.final.calibrated_by: margin → ensemble" in changes
    params = config.load(path)
    assert list(params.variants) == ["toy", "full", "threshold", "margin", "pairs", "final_pairs", "final"]
    pairs, final_pairs = params.variants["pairs"], params.variants["final_pairs"]
    assert (pairs.init, pairs.learn, pairs.train.min_photos, pairs.train.epochs) == ("backbone", "train", 2, 70)
    assert (final_pairs.init, final_pairs.learn, final_pairs.train.min_photos) == ("pairs", "all", 2)
    assert (final_pairs.train.epochs, params.variants["final"].train.epochs) == (4, 4)
    assert pairs.scores == final_pairs.scores == ALL_SCORES
    assert (params.variants["margin"].init, params.variants["final"].init) == ("pairs", "margin")
    assert list(params.predictions) == ["phash", "toy", "full", "threshold", "margin", "pairs", "ensemble", "final"]
    assert params.predictions["pairs"] == config.Prediction(networks=["pairs"])
    assert params.predictions["ensemble"] == config.Prediction(networks=["margin", "pairs"])
    assert params.predictions["final"] == config.Prediction(networks=["final", "final_pairs"], calibrated_by="ensemble")
    # entries are added in the style of the file, above the comment of the next section
    text = path.read_text(encoding="utf-8")
    heading = "# Predictions: variants that rank whales together. Each entry creates submissions/NAME.csv."
    assert f"\n\n{heading}\npredictions:\n" in text
    assert "\n  ensemble: {networks: [margin, pairs]}\n" in text


def test_applying_twice_changes_nothing(path: Path) -> None:
    Path("whales").mkdir()
    presets.apply("real", path, {"data.root": "whales"})
    once = path.read_text(encoding="utf-8")
    assert presets.apply("real", path, {"data.root": "whales"}) == []
    assert path.read_text(encoding="utf-8") == once


def test_sample_removes_the_entries_that_real_added(path: Path) -> None:
    Path("whales").mkdir()
    presets.apply("real", path, {"data.root": "whales"})
    changes = presets.apply("sample", path, {})
    assert sorted(changes[:4]) == [
        "predictions.ensemble: removed",
        "predictions.pairs: removed",
        "variants.final_pairs: removed",
        "variants.pairs: removed",
    ]
    params = config.load(path)
    assert list(params.variants) == ["toy", "full", "threshold", "margin", "final"]
    assert list(params.predictions) == ["phash", "toy", "full", "threshold", "margin", "final"]
    assert params.predictions["final"] == config.Prediction(networks=["final"], calibrated_by="margin")


def test_both_presets_keep_a_users_own_variant(path: Path) -> None:
    Path("whales").mkdir()
    margin = re.search(r"\n  margin:\n.*?    train:\n(.*?)    embed:", TEXT, re.DOTALL)
    assert margin
    train = "{" + ", ".join(line.strip() for line in margin[1].splitlines()) + "}"
    mark = "\n# Predictions: "
    text = TEXT.replace(mark, OWN_VARIANT.format(train=train) + mark).replace(
        "  final: {networks", "  mine: {networks: [mine]}   # and mine\n  final: {networks"
    )
    path.write_text(text, encoding="utf-8")
    before = config.load(path)
    assert before.variants["mine"].train == before.variants["margin"].train
    presets.apply("real", path, {"data.root": "whales"})
    real = config.load(path)
    assert real.variants["mine"] == before.variants["mine"]
    assert real.predictions["mine"] == config.Prediction(networks=["mine"])
    assert "pairs" in real.variants
    assert "# my own" in path.read_text(encoding="utf-8")
    presets.apply("sample", path, {})
    assert config.load(path) == before
    assert unaligned(path.read_text(encoding="utf-8")) == unaligned(text)


def test_a_path_outside_the_project_becomes_absolute(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A queued experiment runs in its own folder, where a relative path would lead elsewhere."""
    outside = tmp_path_factory.mktemp("whales")
    relative = Path("..") / ".." / outside.relative_to(outside.parents[1])
    presets.apply("real", path, {"data.root": str(relative), "backbone.name": "mobilenet_v2"})
    assert config.load(path).data.root == str(outside)
    assert config.load(path).backbone.name == "mobilenet_v2"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("reel", {}, "There is no preset 'reel'. Available: real, sample"),
        ("real", {}, "needs the catalogue folder: run `whaleid preset real --root FOLDER`"),
        ("real", {"data.root": "nowhere"}, "data.root: nowhere does not exist"),
        ("sample", {"backbone.weights": "w.pth"}, "backbone.weights: w.pth does not exist"),
    ],
)
def test_errors_leave_the_file_unchanged(path: Path, name: str, options: dict[str, str | None], message: str) -> None:
    with pytest.raises(WhaleidError, match=message):
        presets.apply(name, path, options)
    assert path.read_text(encoding="utf-8") == TEXT


def test_a_file_without_a_variant_that_the_preset_changes(path: Path) -> None:
    text = TEXT.replace("  toy:\n", "  small:\n").replace("init: toy", "init: small").replace("[toy]", "[small]")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WhaleidError) as error:
        presets.apply("sample", path, {})
    assert str(error.value) == (
        "The preset changes variants.toy, which is not in params.yaml: copy it from an earlier version (`git log -p`)."
    )
    assert path.read_text(encoding="utf-8") == text


def test_a_missing_entry_that_the_preset_defines_completely_is_added(path: Path) -> None:
    Path("whales").mkdir()
    presets.apply("real", path, {"data.root": "whales"})
    real = config.load(path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("  pairs: {networks")), encoding="utf-8")
    assert "pairs" not in config.load(path).predictions
    assert presets.apply("real", path, {"data.root": "whales"}) == ["predictions.pairs: added"]
    assert config.load(path) == real


def test_a_missing_optional_key_is_set(path: Path) -> None:
    line = "  final: {networks: [margin]}"
    path.write_text(TEXT.replace("  final: {networks: [final], calibrated_by: margin}", line), encoding="utf-8")
    assert presets.apply("sample", path, {}) == [
        "predictions.final.networks: ['margin'] → ['final']",
        "predictions.final.calibrated_by: None → margin",
    ]
    assert config.load(path) == config.load(ROOT / "params.yaml")


def test_a_users_prediction_that_needs_a_removed_variant_is_an_error(path: Path) -> None:
    Path("whales").mkdir()
    presets.apply("real", path, {"data.root": "whales"})
    with path.open("a", encoding="utf-8") as file:
        file.write("  three: {networks: [full, margin, pairs]}\n")
    text = path.read_text(encoding="utf-8")
    with pytest.raises(InputProblems) as caught:
        presets.apply("sample", path, {})
    assert caught.value.locations == [
        "predictions.three.networks: there is no variant 'pairs' (available: toy, full, threshold, margin, final)"
    ]
    assert path.read_text(encoding="utf-8") == text
