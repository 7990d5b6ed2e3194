"""MLflow's web pages after two executions of the pipeline, in Chromium; skipped if Chromium is not installed."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.browser import Browser, browse, chromium, take_screenshot
from helpers.project import PREDICTIONS, copy_repository, run

from whaleid.config import load
from whaleid.core import paths
from whaleid.report import views

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        chromium() is None and os.environ.get("CI") != "true",
        reason="no Chromium: install Debian's package `chromium`",
    ),
]
CALIBRATED = ("toy", "margin", "ensemble")
THRESHOLDED = (*CALIBRATED[:-1], "final", "ensemble")
"""The predictions that have a threshold."""
RUNS = ("predict ensemble", "predict ensemble at 0.2")


@pytest.fixture(scope="module")
def project(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project where the pipeline ran with `threshold: auto`, then `predict` at 0.2."""
    folder = copy_repository(reproduced, tmp_path_factory.mktemp("browser") / "project")
    text = (folder / paths.PARAMS).read_text(encoding="utf-8")
    changed, count = re.subn(r"^threshold: auto\b", "threshold: 0.2", text, flags=re.MULTILINE)
    assert count == 1
    (folder / paths.PARAMS).write_text(changed, encoding="utf-8")
    run(folder, "python", "-m", "whaleid", "predict")
    return folder


@pytest.fixture(scope="module")
def shared_browser(project: Path) -> Iterator[Browser]:
    assert chromium() is not None, "no Chromium: CI=true requires it"
    with browse(project / "mlflow.db") as browser:
        yield browser


@pytest.fixture
def browser(shared_browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    """A browser window. Its last page is saved as a screenshot in WHALEID_SCREENSHOTS, or else in `tmp_path`."""
    yield shared_browser
    folder = Path(os.environ.get("WHALEID_SCREENSHOTS", tmp_path))
    take_screenshot(shared_browser.page, folder / f"{request.node.name.removeprefix('test_')}.png")
    assert shared_browser.external_requests == []


def columns(rows: list[dict[str, str]]) -> list[str]:
    """Return the parameter and metric columns of a view; every MLflow table has the other columns."""
    return [name for name in rows[0] if name.startswith(("params.", "metrics."))]


def test_the_view_of_predictions_lists_all_of_them(browser: Browser, project: Path) -> None:
    rows = browser.open_view(views.PREDICTIONS)
    assert browser.truncated_headings() == []
    assert columns(rows) == [
        "params.`variant`",
        "params.`validated`",
        "metrics.`threshold`",
        "metrics.`map5`",
        "metrics.`map5_known`",
        "metrics.`map5_unknown`",
        "metrics.`auroc`",
    ]
    key_columns = ["params.`variant`", "metrics.`threshold`"]
    decisions = {name: project / paths.calibration(name) / paths.DECISION for name in CALIBRATED[:-1]}
    decisions["ensemble"] = project / paths.ranking("ensemble") / paths.DECISION
    automatic = {name: f"{json.loads(path.read_text())['threshold_auto']:g}" for name, path in decisions.items()}
    automatic["final"] = automatic["margin"]  # final uses margin's calibration
    assert sorted(tuple(row[key] for key in key_columns) for row in rows) == sorted(
        [
            *[("phash", "-")] * 2,  # it has no threshold
            *((name, automatic[name]) for name in THRESHOLDED),
            *((name, "0.2") for name in THRESHOLDED),
        ]
    )
    # unvalidated predictions are marked, and come last
    assert [row["params.`validated`"] for row in rows] == ["yes"] * 8 + ["no"] * 2
    assert [row["params.`variant`"] for row in rows[8:]] == ["final"] * 2
    assert [row["metrics.`map5`"] for row in rows[8:]] == ["-"] * 2
    best = [float(row["metrics.`map5`"]) for row in rows[:8]]
    assert best == sorted(best, reverse=True)
    figures_of_ensemble = json.loads((project / paths.figures("ensemble")).read_text())
    (row,) = [row for row in rows if [row[key] for key in key_columns] == ["ensemble", "0.2"]]
    for name in ("map5", "map5_known", "map5_unknown", "auroc"):
        # both are rounded: the run to five digits, the file to six
        assert float(row[f"metrics.`{name}`"]) == pytest.approx(figures_of_ensemble[name], abs=1e-5)


def test_the_view_of_trainings_lists_all_of_them(browser: Browser, project: Path) -> None:
    rows = browser.open_view(views.TRAININGS)
    assert browser.truncated_headings() == []
    assert columns(rows) == [
        "params.`variant`",
        "params.`epochs`",
        "params.`lr`",
        "metrics.`loss`",
        "metrics.`validation_accuracy`",
        "metrics.`seconds`",
    ]
    variants = load(project / paths.PARAMS).variants.items()
    assert {row["params.`variant`"]: (row["params.`epochs`"], row["params.`lr`"]) for row in rows} == {
        name: (str(variant.train.epochs), str(variant.train.lr)) for name, variant in variants
    }
    assert rows[-1]["params.`variant`"] == "final"  # trained on validation photos too, so it has no accuracy
    accuracy = [float(row["metrics.`validation_accuracy`"]) for row in rows[:-1]]
    assert accuracy == sorted(accuracy, reverse=True)


def test_the_experiment_description_links_to_the_views(browser: Browser) -> None:
    for view, count in ((views.PREDICTIONS, 10), (views.TRAININGS, 3)):
        browser.open_page(f"experiments/{browser.experiment}/runs")
        browser.page.get_by_text("all predictions at their thresholds, best first").first.wait_for()
        browser.page.get_by_text("all training runs, with their curves").first.wait_for()
        with browser.follow_link(view.name):
            assert len(browser.rows(view)) == count


def test_a_training_has_a_curve_of_its_loss(browser: Browser, project: Path) -> None:
    browser.open_run(browser.run("train toy").info.run_id, "model-metrics")
    browser.page.get_by_text("train toy (loss)").first.wait_for()
    charts = browser.page.get_by_test_id("experiment-view-compare-runs-card")
    loss = charts.filter(has_text="train toy (loss)")
    loss.locator(".scatterlayer .points path").first.wait_for(state="attached")
    drawn = loss.locator(".js-plotly-plot").evaluate("chart => [chart.data[0].x, chart.data[0].y]")
    history = [line.split(",") for line in (project / paths.history("toy")).read_text().splitlines()]
    column = history[0].index("loss")
    assert drawn[0] == [*range(1, 13)]
    assert drawn[1] == pytest.approx([float(line[column]) for line in history[1:]], rel=1e-4)


def test_the_page_of_a_prediction_opens_in_the_artifact_view(browser: Browser) -> None:
    browser.open_run(browser.run("predict ensemble at 0.2").info.run_id)
    with browser.follow_link("Page of this prediction: thresholds, curves, contact sheets"):
        text = browser.frame_text()
        calibrated = browser.run("calibrate ensemble").info.run_id
        assert browser.page.url.endswith(f"/runs/{calibrated}/artifacts/ensemble.html")
        for heading in ("whaleid: ensemble", "MAP@5 and baselines", "Curves", "Contact sheets", "All figures"):
            assert heading in text
        # the page's script runs
        frame = browser.page.frame_locator("iframe")
        output, slider = frame.locator("output"), frame.locator("#value")
        expected = {name: f"MAP@5 {browser.run(name).data.metrics['map5']:.3f}" for name in RUNS}
        assert output.inner_text() == expected["predict ensemble"]
        slider.fill("0")
        assert output.inner_text() != expected["predict ensemble"]  # new_whale never comes first
        slider.fill("0.2")
        assert output.inner_text() == expected["predict ensemble at 0.2"]
        # the pictures are in the page
        photo = frame.locator(".photo:visible").first
        assert photo.evaluate("photo => getComputedStyle(photo).backgroundImage").startswith('url("data:image/jpeg')


def test_two_runs_are_compared(browser: Browser) -> None:
    browser.open_comparison([browser.run(name).info.run_id for name in RUNS])
    details, parameters = (browser.page.get_by_role("table").nth(index).get_by_role("row") for index in (0, 1))
    names = details.filter(has_text="Run Name").get_by_role("cell").all_inner_texts()
    assert tuple(name.strip() for name in names[-2:]) == RUNS
    thresholds = parameters.filter(has_text="threshold").get_by_role("cell").all_inner_texts()
    assert thresholds[-2:] == ["auto", "0.2"]
    # the plot has one axis for the changed parameter and one for the result
    axes = browser.page.locator(".js-plotly-plot .axis-title").all_text_contents()
    assert axes == ["threshold", "map5"]


def test_the_parent_sums_up_all_predictions(browser: Browser, project: Path) -> None:
    parent = browser.run("predict ensemble at 0.2").data.tags["mlflow.parentRunId"]
    browser.open_run(parent)
    browser.page.get_by_text("On validation, each prediction at its threshold").wait_for()
    metrics = browser.client.get_run(parent).data.metrics
    assert metrics.keys() == {
        "map5",
        *(f"{key}.{name}" for key in ("map5", "map5_known") for name in ("phash", *CALIBRATED)),
        *(f"solution_map5.{name}" for name in PREDICTIONS),
        *(f"threshold.{name}" for name in THRESHOLDED),
    }
    figures = {name: json.loads((project / paths.figures(name)).read_text()) for name in PREDICTIONS}
    assert metrics["map5"] == float(f"{max(scores.get('map5', 0) for scores in figures.values()):.5g}")
    # the metrics are on the same page, one row each
    for name in ("phash", *CALIBRATED):
        row = browser.page.get_by_role("row").filter(has_text=f"map5.{name}")
        assert row.first.inner_text().split()[-1] == f"{metrics[f'map5.{name}']:g}"

    first = browser.page.get_by_role("table").filter(has_text="MAP@5 (95 % interval)").get_by_role("row").all()
    table_rows = {row.get_by_role("cell").first.inner_text(): row.inner_text() for row in first[1:]}
    assert [name.split()[0] for name in table_rows] == [*PREDICTIONS]
    for variant in CALIBRATED:
        assert f"{figures[variant]['map5']:.3f}" in table_rows[variant]
        assert f"0.2 (auto {figures[variant]['threshold_auto']:g})" in table_rows[variant]
