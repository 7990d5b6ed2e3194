"""Presets set what they name and keep the rest."""

from pathlib import Path

import pytest
from conftest import ROOT

from whaleid import config, preset
from whaleid.core.errors import WhaleidError

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TEXT, encoding="utf-8")
    return Path("params.yaml")


def test_the_project_comes_as_preset_sample_has_it(path: Path) -> None:
    assert preset.apply("sample", path, {}) == []
    assert path.read_text(encoding="utf-8") == TEXT


def test_to_real_photos_and_back(path: Path, tmp_path: Path) -> None:
    whales = tmp_path / "elsewhere" / "whales"
    whales.mkdir(parents=True)
    changes = preset.apply("real", path, {"data.root": "elsewhere/whales"})
    assert "data.root: data/sample → elsewhere/whales" in changes
    assert "backbone.weights: none → DEFAULT" in changes
    found = config.load(path)
    assert found.data.root == "elsewhere/whales"
    assert found.pack.stretch
    assert found.variants["margin"].init == "pairs"
    assert "# the catalogue folder: train.csv" in path.read_text(encoding="utf-8")
    preset.apply("sample", path, {})
    assert path.read_text(encoding="utf-8") == TEXT


def test_a_place_outside_the_project_becomes_absolute(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A queued experiment runs in a folder of its own, from where a relative path leads elsewhere."""
    outside = tmp_path_factory.mktemp("whales")
    relative = Path("..") / ".." / outside.relative_to(outside.parents[1])
    preset.apply("real", path, {"data.root": str(relative), "backbone.name": "mobilenet_v2"})
    assert config.load(path).data.root == str(outside)
    assert config.load(path).backbone.name == "mobilenet_v2"


@pytest.mark.parametrize(
    ("name", "named", "said"),
    [
        ("reel", {}, "There is no preset 'reel'; there are: real, sample"),
        ("real", {}, "needs the catalogue folder: whaleid preset real --root FOLDER"),
        ("real", {"data.root": "nowhere"}, "data.root: nowhere is not there"),
        ("sample", {"backbone.weights": "w.pth"}, "backbone.weights: w.pth is not there"),
    ],
)
def test_refusals_change_nothing(path: Path, name: str, named: dict[str, str | None], said: str) -> None:
    with pytest.raises(WhaleidError, match=said):
        preset.apply(name, path, named)
    assert path.read_text(encoding="utf-8") == TEXT


def test_a_file_without_the_keys_of_the_preset(path: Path) -> None:
    path.write_text(TEXT.replace("  toy:", "  small:").replace("init: toy", "init: small"), encoding="utf-8")
    with pytest.raises(WhaleidError, match=r"sets variants\.toy\.layers, but params\.yaml has no toy"):
        preset.apply("sample", path, {})
