"""The comparison of predictions, from files of figures and curves."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from whaleid.cli.app import app
from whaleid.config import Params
from whaleid.core.errors import WhaleidError
from whaleid.report.comparison import as_markdown, as_text, read, summary

CURVE = pd.DataFrame({"threshold": [0.0, 0.1, 0.15, 0.2, 0.3, 0.5], "map5": [0.3, 0.4, 0.45, 0.5, 0.6, 0.2]})
PHASH = {"map5": 0.384, "map5_known": 0.011, "map5_unknown": 1.0, "map5_no_duplicates": 0.3}
TOY = {
    **{"map5": 0.53294, "map5_low": 0.5, "map5_high": 0.56, "map5_no_duplicates": 0.48, "map5_known": 0.335},
    **{"map5_unknown": 0.89, "auroc": 0.8, "ece": 0.031, "threshold": 0.3, "threshold_auto": 0.3, "map5_auto": 0.593},
    **{"baseline_new_whale": 0.3, "baseline_duplicates": 0.384, "baseline_centroid": 0.41},
}
FULL = {
    **{"map5": 0.53306, "map5_low": 0.51, "map5_high": 0.57, "map5_no_duplicates": 0.49, "map5_known": 0.401},
    **{"map5_unknown": 0.89, "auroc": 0.81, "ece": 0.024, "threshold": 0.15, "threshold_auto": 0.2, "map5_auto": 0.471},
    **{"baseline_new_whale": 0.3, "baseline_duplicates": 0.384, "baseline_centroid": 0.45},
}
FINAL = {"threshold": 0.15, "threshold_auto": 0.2, "solution_map5": 0.6}
FIGURES = {"phash": PHASH, "toy": TOY, "full": FULL, "final": FINAL}
CURVES = {"toy": CURVE, "full": CURVE.assign(map5=[0.3, 0.45, 0.47, 0.48, 0.55, 0.3])}
PREDICTIONS = ["phash", "toy", "full", "pairs", "final"]
TEXT = """\
On validation, each prediction at its threshold
  prediction MAP@5 (95 % interval)  no duplicates   known  unknown   AUROC     ECE  solution         threshold
  phash                      0.384          0.300   0.011    1.000*      -       -         -                 -
  toy          0.533 (0.500-0.560)*         0.480   0.335    0.890   0.800   0.031         -          auto 0.3
  full         0.533 (0.510-0.570)*         0.490*  0.401*   0.890   0.810*  0.024*        -   0.15 (auto 0.2)
  final                          -              -       -        -       -       -     0.600   0.15 (auto 0.2)

MAP@5 without duplicates, at auto and at fixed thresholds
  prediction   auto     0.1    0.15     0.2     0.3     0.5
  toy         0.593*  0.400   0.450   0.500*  0.600*  0.200
  full        0.471   0.450*  0.470*  0.480   0.550   0.300*

* best of its column
Baselines: new_whale for all 0.300; duplicates, else new_whale 0.384; nearest centroid, no threshold 0.450.
solution: MAP@5 on the queries with a true label in solution.csv.
Without figures: pairs.
Not validated, because trained on the validation photos: final."""
"""MAP@5 of toy and full are equal as displayed, so both are marked. A single value, such as that of final, is not."""


@pytest.fixture(autouse=True)
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the outputs of stages `predict` and `rank`."""
    monkeypatch.chdir(tmp_path)
    Path("reports/figures").mkdir(parents=True)
    for name, figures in FIGURES.items():
        Path(f"reports/figures/{name}.json").write_text(json.dumps(figures), encoding="utf-8")
    for name, curve in CURVES.items():
        Path("rankings", name).mkdir(parents=True)
        curve.to_csv(Path("rankings", name, "threshold.csv"), index=False)


def test_one_row_per_prediction_and_one_column_per_threshold() -> None:
    comparison = read(["full", "toy", "pairs", "phash"])
    assert comparison.index.tolist() == ["full", "toy", "pairs", "phash"]
    assert comparison.loc["toy", TOY.keys()].to_dict() == TOY
    at = comparison.filter(like="at_")
    assert at.columns.tolist() == ["at_0.1", "at_0.15", "at_0.2", "at_0.3", "at_0.5"]
    assert at.loc["full"].tolist() == [0.45, 0.47, 0.48, 0.55, 0.3]
    assert at.loc["phash"].isna().all()
    assert comparison.loc["pairs"].isna().all()


def test_a_chosen_threshold_that_is_not_on_a_curve_has_no_column() -> None:
    Path("reports/figures/toy.json").write_text(json.dumps(TOY | {"threshold": 0.123}), encoding="utf-8")
    comparison = read(["toy"])
    assert comparison.filter(like="at_").columns.tolist() == ["at_0.1", "at_0.2", "at_0.3", "at_0.5"]
    assert "0.123 (auto 0.3)" in as_text(comparison)


def test_text_fits_a_terminal_of_120_columns() -> None:
    text = as_text(read(PREDICTIONS))
    assert text == TEXT
    assert max(map(len, text.splitlines())) <= 120


def test_markdown_has_the_same_figures() -> None:
    markdown = as_markdown(read(PREDICTIONS))
    assert "| phash | 0.384 | 0.300 | 0.011 | **1.000** | - | - | - | - |" in markdown
    assert "| full | 0.471 | **0.450** | **0.470** | 0.480 | 0.550 | **0.300** |" in markdown
    assert markdown.endswith("\n\nNot validated, because trained on the validation photos: final.\n")


def test_a_prediction_without_validation_and_solution_has_no_row() -> None:
    Path("reports/figures/final.json").write_text('{"threshold": 0.2}', encoding="utf-8")
    assert "Without figures: pairs, final." in as_text(read(PREDICTIONS))


def test_files_without_figures_are_refused() -> None:
    for text in ("<<<<<<< HEAD\n", "[]", '{"map5": "high"}'):
        Path("reports/figures/full.json").write_text(text, encoding="utf-8")
        with pytest.raises(WhaleidError, match=r"figures/full\.json does not contain .* `dvc repro --force predict`"):
            read(["full"])
    Path("rankings/toy/threshold.csv").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    with pytest.raises(WhaleidError, match=r"rankings/toy/threshold\.csv does not contain .* `dvc checkout`"):
        read(["toy"])


def test_without_figures_the_error_says_what_to_run() -> None:
    with pytest.raises(
        WhaleidError,
        match=r"no figures to compare in reports/figures/PREDICTION\.json for pairs, other\. Run `dvc repro`",
    ):
        as_text(read(["pairs", "other"]))


def test_the_summary_has_the_headline_figures_of_all_predictions() -> None:
    result = summary(PREDICTIONS)
    assert result.metrics == {
        "map5": 0.53306,  # the highest, by which executions are sorted
        **{"map5.phash": 0.384, "map5.toy": 0.53294, "map5.full": 0.53306},
        **{"map5_known.phash": 0.011, "map5_known.toy": 0.335, "map5_known.full": 0.401},
        **{"threshold.toy": 0.3, "threshold.full": 0.15, "threshold.final": 0.15},
        "solution_map5.final": 0.6,
    }
    assert result.description == as_markdown(read(PREDICTIONS))
    # without validation there is no best MAP@5
    assert summary(["final"]).metrics == {"solution_map5.final": 0.6, "threshold.final": 0.15}
    empty = summary(["pairs"])
    assert (empty.metrics, empty.description) == ({}, "Without figures: pairs.\n")


def test_predictions_keep_the_order_of_the_parameters(project: Callable[..., Params]) -> None:
    assert [*project().predictions] == ["phash", "toy", "full", "threshold", "margin", "final"]
    result = CliRunner().invoke(app, ["compare"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["phash", "toy", "full", "final"]
    assert "Without figures: threshold, margin." in lines
