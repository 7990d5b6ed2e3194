"""The predictions side by side, from figures as DVC keeps them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from whaleid.cli.app import app
from whaleid.config import Params
from whaleid.core.errors import WhaleidError
from whaleid.report.comparison import Figures, as_markdown, as_text, compare, read, summary

CURVE = pd.DataFrame({"threshold": [0.0, 0.1, 0.15, 0.2, 0.3, 0.5], "map5": [0.3, 0.4, 0.45, 0.5, 0.6, 0.2]})
PHASH = Figures({"map5": 0.384, "map5_known": 0.011, "map5_unknown": 1.0, "map5_no_duplicates": 0.3})
TOY = Figures(
    {
        "map5": 0.53294,
        "map5_low": 0.5,
        "map5_high": 0.56,
        "map5_no_duplicates": 0.48,
        "map5_known": 0.335,
        "map5_unknown": 0.89,
        "auroc": 0.8,
        "ece": 0.031,
        "threshold": 0.3,
        "threshold_auto": 0.3,
        "map5_auto": 0.593,
        "baseline_new_whale": 0.3,
        "baseline_duplicates": 0.384,
        "baseline_centroid": 0.41,
    },
    CURVE,
)
FULL = Figures(
    {
        "map5": 0.53306,
        "map5_low": 0.51,
        "map5_high": 0.57,
        "map5_no_duplicates": 0.49,
        "map5_known": 0.401,
        "map5_unknown": 0.89,
        "auroc": 0.81,
        "ece": 0.024,
        "threshold": 0.15,
        "threshold_auto": 0.2,
        "map5_auto": 0.471,
        "baseline_new_whale": 0.3,
        "baseline_duplicates": 0.384,
        "baseline_centroid": 0.45,
    },
    CURVE.assign(map5=[0.3, 0.45, 0.47, 0.48, 0.55, 0.3]),
)
FINAL = Figures({"threshold": 0.15, "threshold_auto": 0.2, "solution_map5": 0.6})
FOUND = {"phash": PHASH, "toy": TOY, "full": FULL, "final": FINAL}
PREDICTIONS = ["phash", "toy", "full", "pairs", "final"]
TEXT = """\
On validation, each prediction at its threshold
  prediction  MAP@5 (95 % interval)  no duplicates  known  unknown  AUROC    ECE  solution        threshold
  phash                       0.384          0.300  0.011    1.000*     -      -         -                -
  toy           0.533 (0.500-0.560)*         0.480  0.335    0.890  0.800  0.031         -         auto 0.3
  full          0.533 (0.510-0.570)*         0.490* 0.401*   0.890  0.810* 0.024*        -  0.15 (auto 0.2)
  final                           -              -      -        -      -      -     0.600  0.15 (auto 0.2)

MAP@5 without duplicates, at auto and at one threshold for all
  prediction   auto    0.1   0.15    0.2    0.3    0.5
  toy         0.593* 0.400  0.450  0.500* 0.600* 0.200
  full        0.471  0.450* 0.470* 0.480  0.550  0.300*

* the best of its column
Baselines: new_whale for all 0.300; duplicates, else new_whale 0.384; nearest centroid, no threshold 0.450.
solution: MAP@5 on the queries, whose truth is known.
Without figures so far: pairs.
Not validated, since validation's photos were learnt: final."""
"""MAP@5 of toy and full look alike: both are best. Alone in its column, final is the best of nothing."""


def leave(prediction: str, figures: Figures) -> None:
    """Write what `predict` and `rank` leave."""
    written, ranked = Path("reports/figures") / f"{prediction}.json", Path("rankings") / prediction
    written.parent.mkdir(parents=True, exist_ok=True)
    ranked.mkdir(parents=True)
    written.write_text(json.dumps(figures.metrics), encoding="utf-8")
    if figures.curve is not None:
        figures.curve.to_csv(ranked / "threshold.csv", index=False)


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for prediction, figures in FOUND.items():
        leave(prediction, figures)


def test_the_frame_has_a_row_a_prediction_and_a_column_a_threshold() -> None:
    frame = compare(FOUND)
    assert frame.index.tolist() == ["phash", "toy", "full", "final"]
    at = frame[["at_auto", "at_0.1", "at_0.15", "at_0.2", "at_0.3", "at_0.5"]]
    assert at.loc["toy"].tolist() == [0.593, 0.4, 0.45, 0.5, 0.6, 0.2]
    assert at.loc["full"].tolist() == [0.471, 0.45, 0.47, 0.48, 0.55, 0.3]
    assert at.loc[["phash", "final"]].isna().all(axis=None)
    assert frame.loc["final", "solution_map5"] == 0.6
    assert np.isnan(frame.loc["final", "map5"])


def test_a_chosen_number_between_the_thresholds_of_a_curve_has_no_column() -> None:
    frame = compare({"toy": Figures({**TOY.metrics, "threshold": 0.123}, CURVE)})
    assert [name for name in frame if name.startswith("at_")] == ["at_auto", "at_0.1", "at_0.2", "at_0.3", "at_0.5"]
    assert frame.loc["toy", "threshold"] == 0.123


def test_a_terminal_shows_all_in_120_columns() -> None:
    text = as_text(FOUND, PREDICTIONS)
    assert text == TEXT
    assert max(map(len, text.splitlines())) <= 120


def test_markdown_shows_the_same_figures() -> None:
    markdown = as_markdown(FOUND, PREDICTIONS)
    assert "| phash | 0.384 | 0.300 | 0.011 | **1.000** | - | - | - | - |" in markdown
    assert "| full | 0.471 | **0.450** | **0.470** | 0.480 | 0.550 | **0.300** |" in markdown
    assert markdown.endswith("\n\nNot validated, since validation's photos were learnt: final.\n")


def test_figures_are_read_in_the_order_given(reports: None) -> None:
    # nothing measures final where the catalogue has no solution
    Path("reports/figures/final.json").write_text('{"threshold": 0.2}', encoding="utf-8")
    found = read(["full", "toy", "pairs", "final", "phash"])
    assert list(found) == ["full", "toy", "phash"]
    assert found["toy"].metrics == TOY.metrics
    assert as_text(found, ["full"]) == as_text({"full": FULL, "toy": TOY, "phash": PHASH}, ["full"])


def test_figures_that_are_none_are_refused(reports: None) -> None:
    Path("rankings/toy/threshold.csv").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    with pytest.raises(WhaleidError, match=r"rankings/toy/threshold\.csv does not hold .* `dvc checkout`"):
        read(["toy"])
    for junk in ("<<<<<<< HEAD\n", "[]", '{"map5": "high"}'):
        Path("reports/figures/toy.json").write_text(junk, encoding="utf-8")
        with pytest.raises(
            WhaleidError, match=r"reports/figures/toy\.json does not hold .* `dvc repro --force predict`"
        ):
            read(["toy"])


def test_nothing_to_compare_says_what_to_run() -> None:
    with pytest.raises(
        WhaleidError, match=r"none of toy, full has figures in reports/figures/PREDICTION\.json\. `dvc repro` predicts"
    ):
        as_text({}, ["toy", "full"])


def test_the_summary_of_a_parent_has_the_headline_figures_of_all(reports: None) -> None:
    drawn = summary(PREDICTIONS)
    assert drawn.metrics == {
        "map5": 0.53306,  # the highest, by which executions are sorted
        **{"map5.phash": 0.384, "map5.toy": 0.53294, "map5.full": 0.53306},
        **{"map5_known.phash": 0.011, "map5_known.toy": 0.335, "map5_known.full": 0.401},
        **{"threshold.toy": 0.3, "threshold.full": 0.15, "threshold.final": 0.15},
        "solution_map5.final": 0.6,
    }
    assert drawn.description == as_markdown(FOUND, PREDICTIONS)


def test_the_summary_of_what_is_not_validated_has_no_best(reports: None) -> None:
    assert summary(["final"]).metrics == {"solution_map5.final": 0.6, "threshold.final": 0.15}


def test_a_summary_without_any_figures_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # final without a solution, say
    drawn = summary(["phash", "final"])
    assert drawn.metrics == {}
    assert "Without figures so far: phash, final." in drawn.description


def test_the_order_is_that_of_the_parameters(project: Callable[..., Params]) -> None:
    names = ["phash", "toy", "full", "threshold", "margin", "final"]
    assert list(project().predictions) == names
    for name in ("full", "final", "phash"):
        leave(name, FOUND[name])
    ended = CliRunner().invoke(app, ["compare"])
    assert ended.exit_code == 0
    lines = ended.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["phash", "full", "final"]
    assert "Without figures so far: toy, threshold, margin." in lines
