"""docs/parameters.md is what docs/parameters.py prints, and the presets set keys that there are."""

import importlib.util
import re
from types import ModuleType

import pytest
from helpers.project import ROOT

from whaleid import config
from whaleid.cli import presets
from whaleid.config import NAMED, Params


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("parameters", ROOT / "docs/parameters.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(generator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    assert page == generator.page(), "run `python docs/parameters.py > docs/parameters.md`"
    for line in (
        "| whole number from 16 to 1024 | 48 (real: 144) |",
        "| key | toy | full | threshold | margin | final |",
        "| `variants.VARIANT.train.epochs` | 3 (real: 12) | 9 (real: 4) | 8 (real: 3) | 9 (real: 24) | 2 (real: 4) |",
        "| `variants.VARIANT.init` | backbone | toy | full | full (real: pairs) | margin |",
        "| number from 0 to 1, or auto | auto |",
        "| number above 0, up to 1 | 0.003 (real: 0.001) |",
        "| list of 1 or more: class, nearest, centroid, duplicates |",
        "| [] | [toy] | [full] | [threshold] | [margin] | [final] (real: [final, final_pairs]) |",
    ):
        assert line in page


def test_every_key_has_a_meaning(generator: ModuleType) -> None:
    keys = {key.name: key for key in generator.keys(Params.model_json_schema())}
    wrong = [name for name, key in keys.items() if not re.fullmatch(r"[A-Z0-9D].{8,}\.", key.meaning) or not key.values]
    assert wrong == []


def test_presets_set_keys_that_there_are(generator: ModuleType) -> None:
    keys = {key.name for key in generator.keys(Params.model_json_schema())}
    for sets in presets.overlays().values():
        for key in config.leaves(sets):
            section, _, inner = key.partition(".")
            entry = f"{generator.ENTRY[section]}.{inner.partition('.')[2]}" if section in NAMED else inner
            assert f"{section}.{entry}" in keys
