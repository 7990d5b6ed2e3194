"""README.md has the results that docs/results.py writes."""

import importlib
from types import ModuleType

import pytest
from helpers.project import ROOT


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.chdir(ROOT)
    return importlib.import_module("results")


def test_the_readme_is_current(results: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == results.page(readme), "run `python docs/results.py`"
    # the baseline, every prediction of params.yaml, and the best of both
    assert "| all `new_whale` | 0.208 |  |  |  | 0.210 |" in readme
    assert all(f"| `{name}` | 0." in readme for name in ("phash", "toy", "full", "threshold", "margin"))
    assert "| `final` | not validated |  |  |  | " in readme


def test_only_the_tables_are_written(results: ModuleType) -> None:
    page = results.page(f"before\n{results.START}\n| stale |\n{results.END}\nafter\n")
    assert page.startswith(f"before\n{results.START}\n\n| MAP@5 | validation |")
    assert page.endswith(f" |\n\n{results.END}\nafter\n")
    assert "stale" not in page


def test_the_best_validated_and_the_best_on_the_truth_are_bold(results: ModuleType) -> None:
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


def test_predictions_without_a_calibration_have_no_decision(results: ModuleType) -> None:
    figures = {"phash": {"auroc": 0.5}, "toy": {"ece": 0.0126, "ece_chance": 0.01, "oracle_gain": 0.0}}
    assert [*results.decision_rows(figures)][1:] == [["`toy`", "", "", "", "0.013", "0.010", "0.000"]]
