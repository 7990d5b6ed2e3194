"""The tables written by the scripts in docs/: results in README.md, parameters in docs/reference.md."""

import importlib
import re
from types import ModuleType

import pytest
from helpers.project import ROOT

from whaleid import config
from whaleid.cli import presets
from whaleid.config import NAMED, Params


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.chdir(ROOT)


@pytest.fixture
def results() -> ModuleType:
    return importlib.import_module("results")


@pytest.fixture
def parameters() -> ModuleType:
    return importlib.import_module("parameters")


def test_the_results_are_current(results: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == results.page(readme), "run `python docs/results.py`"
    # the baseline and the predictions of params.yaml
    assert "| all `new_whale` | 0.208 |  |  |  | 0.210 |" in readme
    assert all(f"| `{name}` | 0." in readme for name in ("phash", "toy", "full", "threshold", "margin"))
    assert "| `final` | not validated |  |  |  | " in readme


def test_only_the_results_are_replaced(results: ModuleType) -> None:
    page = results.page(f"before\n{results.START}\n| stale |\n{results.END}\nafter\n")
    assert page.startswith(f"before\n{results.START}\n\n| MAP@5 | validation |")
    assert page.endswith(f" |\n\n{results.END}\nafter\n")
    assert "stale" not in page


def test_the_best_results_on_validation_and_on_the_solution_are_bold(results: ModuleType) -> None:
    figures = {
        "phash": {"map5": 0.3, "map5_low": 0.25, "map5_high": 0.35, "baseline_new_whale": 0.2, "solution_map5": 0.31},
        "toy": {"map5": 0.42, "map5_low": 0.4, "map5_high": 0.4449, "map5_unknown": 1.0, "solution_map5": 0.4},
        "final": {"solution_map5": 0.5},
    }
    assert [*results.map5_rows(figures, 0.21)][1:] == [
        ["all `new_whale`", "0.200", "", "", "", "0.210"],
        ["`phash`", "0.300 (0.250\N{EN DASH}0.350)", "", "", "", "0.310"],
        ["`toy`", "**0.420** (0.400\N{EN DASH}0.445)", "", "", "1.000", "0.400"],
        ["`final`", "not validated", "", "", "", "**0.500**"],
    ]


def test_predictions_without_a_calibration_are_not_in_the_second_table(results: ModuleType) -> None:
    figures = {"phash": {"auroc": 0.5}, "toy": {"ece": 0.0126, "ece_chance": 0.01, "oracle_gain": 0.0}}
    assert [*results.decision_rows(figures)][1:] == [["`toy`", "", "", "", "0.013", "0.010", "0.000"]]


def test_the_parameters_are_current(parameters: ModuleType) -> None:
    reference = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    assert reference == parameters.page(reference), "run `python docs/parameters.py`"
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
        assert line in reference


def test_every_key_has_a_meaning(parameters: ModuleType) -> None:
    keys = {key.name: key for key in parameters.keys(Params.model_json_schema())}
    invalid = [
        name for name, key in keys.items() if not re.fullmatch(r"[A-Z0-9D].{8,}\.", key.meaning) or not key.values
    ]
    assert invalid == []


def test_presets_set_existing_keys(parameters: ModuleType) -> None:
    keys = {key.name for key in parameters.keys(Params.model_json_schema())}
    for preset in presets.overlays().values():
        for key in config.leaves(preset):
            section, _, inner = key.partition(".")
            entry = f"{parameters.ENTRY[section]}.{inner.partition('.')[2]}" if section in NAMED else inner
            assert f"{section}.{entry}" in keys
