"""Presets set what they name and keep the rest."""

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
MINE = """\
  mine:
    init: toy              # my own
    learn: train
    train: {train}
    embed: {{zoom: 0.9, tilt: 5.0}}
    scores: [nearest]
"""
"""A variant of a user's own, which no preset knows."""


def without_columns(text: str) -> str:
    """Return `text` with one space before each comment behind a value."""
    return re.sub(r"(\S) +#", r"\1 #", text)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TEXT, encoding="utf-8")
    return Path("params.yaml")


def test_the_project_comes_as_preset_sample_has_it(path: Path) -> None:
    assert presets.apply("sample", path, {}) == []
    assert path.read_text(encoding="utf-8") == TEXT


def test_to_real_photos_and_back(path: Path, tmp_path: Path) -> None:
    whales = tmp_path / "elsewhere" / "whales"
    whales.mkdir(parents=True)
    changes = presets.apply("real", path, {"data.root": "elsewhere/whales"})
    assert "data.root: data/sample → elsewhere/whales" in changes
    assert "backbone.weights: none → DEFAULT" in changes
    found = config.load(path)
    assert found.data.root == "elsewhere/whales"
    assert found.pack.stretch
    assert found.variants["margin"].init == "pairs"
    assert "# catalogue folder, with train.csv" in path.read_text(encoding="utf-8")
    assert (found.boxes.size, found.boxes.steps) == (96, 800)
    back = presets.apply("sample", path, {})
    assert "data.root: elsewhere/whales → data/sample" in back
    assert config.load(path) == config.check(YAML(typ="safe").load(TEXT), path)
    assert without_columns(path.read_text(encoding="utf-8")) == without_columns(TEXT)


def test_real_adds_a_second_network_and_what_it_decides_with(path: Path) -> None:
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
    found = config.load(path)
    assert list(found.variants) == ["toy", "full", "threshold", "margin", "pairs", "final_pairs", "final"]
    pairs, final_pairs = found.variants["pairs"], found.variants["final_pairs"]
    assert (pairs.init, pairs.learn, pairs.train.min_photos, pairs.train.epochs) == ("backbone", "train", 2, 70)
    assert (final_pairs.init, final_pairs.learn, final_pairs.train.min_photos) == ("pairs", "all", 2)
    assert (final_pairs.train.epochs, found.variants["final"].train.epochs) == (4, 4)
    assert pairs.scores == final_pairs.scores == ALL_SCORES
    assert (found.variants["margin"].init, found.variants["final"].init) == ("pairs", "margin")
    assert list(found.predictions) == ["phash", "toy", "full", "threshold", "margin", "pairs", "ensemble", "final"]
    assert found.predictions["pairs"] == config.Prediction(networks=["pairs"])
    assert found.predictions["ensemble"] == config.Prediction(networks=["margin", "pairs"])
    assert found.predictions["final"] == config.Prediction(networks=["final", "final_pairs"], calibrated_by="ensemble")
    # as the file has its own: the comment above `predictions` stands there still
    text = path.read_text(encoding="utf-8")
    heading = "# Predictions: variants that rank whales together. Each entry creates submissions/NAME.csv."
    assert f"\n\n{heading}\npredictions:\n" in text
    assert "\n  ensemble: {networks: [margin, pairs]}\n" in text


def test_twice_is_as_once(path: Path) -> None:
    Path("whales").mkdir()
    presets.apply("real", path, {"data.root": "whales"})
    once = path.read_text(encoding="utf-8")
    assert presets.apply("real", path, {"data.root": "whales"}) == []
    assert path.read_text(encoding="utf-8") == once


def test_sample_removes_what_real_has_added(path: Path) -> None:
    Path("whales").mkdir()
    presets.apply("real", path, {"data.root": "whales"})
    changes = presets.apply("sample", path, {})
    assert sorted(changes[:4]) == [
        "predictions.ensemble: removed",
        "predictions.pairs: removed",
        "variants.final_pairs: removed",
        "variants.pairs: removed",
    ]
    found = config.load(path)
    assert list(found.variants) == ["toy", "full", "threshold", "margin", "final"]
    assert list(found.predictions) == ["phash", "toy", "full", "threshold", "margin", "final"]
    assert found.predictions["final"] == config.Prediction(networks=["final"], calibrated_by="margin")


def test_a_variant_of_ones_own_survives_both(path: Path) -> None:
    Path("whales").mkdir()
    margin = re.search(r"\n  margin:\n.*?    train:\n(.*?)    embed:", TEXT, re.DOTALL)
    assert margin
    train = "{" + ", ".join(line.strip() for line in margin[1].splitlines()) + "}"
    mark = "\n# Predictions: "
    own = TEXT.replace(mark, MINE.format(train=train) + mark).replace(
        "  final: {networks", "  mine: {networks: [mine]}   # and mine\n  final: {networks"
    )
    path.write_text(own, encoding="utf-8")
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
    assert without_columns(path.read_text(encoding="utf-8")) == without_columns(own)


def test_a_place_outside_the_project_becomes_absolute(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A queued experiment runs in a folder of its own, from where a relative path leads elsewhere."""
    outside = tmp_path_factory.mktemp("whales")
    relative = Path("..") / ".." / outside.relative_to(outside.parents[1])
    presets.apply("real", path, {"data.root": str(relative), "backbone.name": "mobilenet_v2"})
    assert config.load(path).data.root == str(outside)
    assert config.load(path).backbone.name == "mobilenet_v2"


@pytest.mark.parametrize(
    ("name", "named", "said"),
    [
        ("reel", {}, "There is no preset 'reel'. Available: real, sample"),
        ("real", {}, "needs the catalogue folder: run whaleid preset real --root FOLDER"),
        ("real", {"data.root": "nowhere"}, "data.root: nowhere does not exist"),
        ("sample", {"backbone.weights": "w.pth"}, "backbone.weights: w.pth does not exist"),
    ],
)
def test_refusals_change_nothing(path: Path, name: str, named: dict[str, str | None], said: str) -> None:
    with pytest.raises(WhaleidError, match=said):
        presets.apply(name, path, named)
    assert path.read_text(encoding="utf-8") == TEXT


def test_a_file_without_the_keys_of_the_preset(path: Path) -> None:
    text = TEXT.replace("  toy:\n", "  small:\n").replace("init: toy", "init: small").replace("[toy]", "[small]")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WhaleidError) as error:
        presets.apply("sample", path, {})
    assert str(error.value) == ("The preset changes variants.toy, which is not in params.yaml: restore it from git.")
    assert path.read_text(encoding="utf-8") == text


def test_what_the_preset_has_whole_is_added_where_it_is_missing(path: Path) -> None:
    Path("whales").mkdir()
    presets.apply("real", path, {"data.root": "whales"})
    real = config.load(path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("  pairs: {networks")), encoding="utf-8")
    assert "pairs" not in config.load(path).predictions
    assert presets.apply("real", path, {"data.root": "whales"}) == ["predictions.pairs: added"]
    assert config.load(path) == real


def test_a_key_that_may_be_left_out_is_set_where_it_is_not_there(path: Path) -> None:
    own = "  final: {networks: [margin]}"
    path.write_text(TEXT.replace("  final: {networks: [final], calibrated_by: margin}", own), encoding="utf-8")
    assert presets.apply("sample", path, {}) == [
        "predictions.final.networks: ['margin'] → ['final']",
        "predictions.final.calibrated_by: None → margin",
    ]
    assert config.load(path) == config.load(ROOT / "params.yaml")


def test_a_prediction_of_ones_own_that_needs_what_goes_is_told(path: Path) -> None:
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
