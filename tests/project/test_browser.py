"""What a person reads in MLflow after two executions of the pipeline: in Chromium, where it is installed."""

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
DECIDED = (*CALIBRATED[:-1], "final", "ensemble")
"""The predictions at a threshold."""
RUNS = ("predict ensemble", "predict ensemble at 0.2")


@pytest.fixture(scope="module")
def project(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder where the pipeline ran with the threshold found, and `predict` once more at 0.2."""
    folder = copy_repository(reproduced, tmp_path_factory.mktemp("browser") / "project")
    text = (folder / paths.PARAMS).read_text(encoding="utf-8")
    at, count = re.subn(r"^threshold: auto\b", "threshold: 0.2", text, flags=re.MULTILINE)
    assert count == 1
    (folder / paths.PARAMS).write_text(at, encoding="utf-8")
    run(folder, "python", "-m", "whaleid", "predict")
    return folder


@pytest.fixture(scope="module")
def opened(project: Path) -> Iterator[Browser]:
    assert chromium() is not None, "no Chromium: here it is to be installed"
    with browse(project / "mlflow.db") as browser:
        yield browser


@pytest.fixture
def browser(opened: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    """The window. What is seen in the end becomes a picture, in WHALEID_SCREENSHOTS or where pytest keeps a few."""
    yield opened
    folder = Path(os.environ.get("WHALEID_SCREENSHOTS", tmp_path))
    take_screenshot(opened.page, folder / f"{request.node.name.removeprefix('test_')}.png")
    assert opened.external_requests == []


def columns(rows: list[dict[str, str]]) -> list[str]:
    """Return the columns that a view adds to those that every table of MLflow's has."""
    return [name for name in rows[0] if name.startswith(("params.", "metrics."))]


def test_all_predictions_are_seen_by_a_link(browser: Browser, project: Path) -> None:
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
    told = ["params.`variant`", "metrics.`threshold`"]
    decisions = {name: project / paths.calibration(name) / paths.DECISION for name in CALIBRATED[:-1]}
    decisions["ensemble"] = project / paths.ranking("ensemble") / paths.DECISION
    automatic = {name: f"{json.loads(path.read_text())['threshold_auto']:g}" for name, path in decisions.items()}
    automatic["final"] = automatic["margin"]  # whose calibration it takes
    assert sorted(tuple(row[key] for key in told) for row in rows) == sorted(
        [
            *[("phash", "-")] * 2,  # it has no threshold
            *((name, automatic[name]) for name in DECIDED),
            *((name, "0.2") for name in DECIDED),
        ]
    )
    # what is not validated says so, and comes last
    assert [row["params.`validated`"] for row in rows] == ["yes"] * 8 + ["no"] * 2
    assert [row["params.`variant`"] for row in rows[8:]] == ["final"] * 2
    assert [row["metrics.`map5`"] for row in rows[8:]] == ["-"] * 2
    best = [float(row["metrics.`map5`"]) for row in rows[:8]]
    assert best == sorted(best, reverse=True)
    now = json.loads((project / paths.figures("ensemble")).read_text())
    (row,) = [row for row in rows if [row[key] for key in told] == ["ensemble", "0.2"]]
    for name in ("map5", "map5_known", "map5_unknown", "auroc"):
        # both are rounded: the run to five digits, the file to six
        assert float(row[f"metrics.`{name}`"]) == pytest.approx(now[name], abs=1e-5)


def test_all_trainings_are_seen_by_a_link(browser: Browser, project: Path) -> None:
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
        name: (str(each.train.epochs), str(each.train.lr)) for name, each in variants
    }
    assert rows[-1]["params.`variant`"] == "final"  # it learns validation's photos too
    accuracy = [float(row["metrics.`validation_accuracy`"]) for row in rows[:-1]]
    assert accuracy == sorted(accuracy, reverse=True)


def test_the_experiment_is_described_and_leads_to_its_views(browser: Browser) -> None:
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
        told = browser.frame_text()
        calibrated = browser.run("calibrate ensemble").info.run_id
        assert browser.page.url.endswith(f"/runs/{calibrated}/artifacts/ensemble.html")
        for said in ("whaleid: ensemble", "MAP@5 and baselines", "Curves", "Contact sheets", "All figures"):
            assert said in told
        # its script runs
        frame = browser.page.frame_locator("iframe")
        now, chosen = frame.locator("output"), frame.locator("#value")
        reached = {name: f"MAP@5 {browser.run(name).data.metrics['map5']:.3f}" for name in RUNS}
        assert now.inner_text() == reached["predict ensemble"]
        chosen.fill("0")
        assert now.inner_text() != reached["predict ensemble"]  # new_whale never comes first
        chosen.fill("0.2")
        assert now.inner_text() == reached["predict ensemble at 0.2"]
        # the pictures are in the page
        photo = frame.locator(".photo:visible").first
        assert photo.evaluate("each => getComputedStyle(each).backgroundImage").startswith('url("data:image/jpeg')


def test_two_runs_are_compared(browser: Browser) -> None:
    browser.open_comparison([browser.run(name).info.run_id for name in RUNS])
    details, parameters = (browser.page.get_by_role("table").nth(place).get_by_role("row") for place in (0, 1))
    names = details.filter(has_text="Run Name").get_by_role("cell").all_inner_texts()
    assert tuple(name.strip() for name in names[-2:]) == RUNS
    thresholds = parameters.filter(has_text="threshold").get_by_role("cell").all_inner_texts()
    assert thresholds[-2:] == ["auto", "0.2"]
    # and the plot on top has an axis for what was asked, and one for what came of it
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
        *(f"threshold.{name}" for name in DECIDED),
    }
    figures = {name: json.loads((project / paths.figures(name)).read_text()) for name in PREDICTIONS}
    assert metrics["map5"] == float(f"{max(each.get('map5', 0) for each in figures.values()):.5g}")
    # the headline is on the same page: a line for each metric
    for name in ("phash", *CALIBRATED):
        row = browser.page.get_by_role("row").filter(has_text=f"map5.{name}")
        assert row.first.inner_text().split()[-1] == f"{metrics[f'map5.{name}']:g}"

    first = browser.page.get_by_role("table").filter(has_text="MAP@5 (95 % interval)").get_by_role("row").all()
    shown = {row.get_by_role("cell").first.inner_text(): row.inner_text() for row in first[1:]}
    assert [name.split()[0] for name in shown] == [*PREDICTIONS]
    for variant in CALIBRATED:
        assert f"{figures[variant]['map5']:.3f}" in shown[variant]
        assert f"0.2 (auto {figures[variant]['threshold_auto']:g})" in shown[variant]
