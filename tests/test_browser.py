"""What a person reads in MLflow after two executions of the pipeline: in Chromium, where it is installed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browse, chromium, picture
from conftest import ROOT, STEPS, write_params

from whaleid.core import paths

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        chromium() is None and os.environ.get("CI") != "true",
        reason="no Chromium: install Debian's package `chromium`",
    ),
]
VARIANTS = ("toy", "full")
STAGES = f"""
import sys
from whaleid import cli
from whaleid.training import boxes
boxes.STEPS = {STEPS}
for stage in sys.argv[1:]:
    cli._run(*stage.split())
"""
"""Runs stages in one process: it takes seconds to load what they need."""


def execute(folder: Path, threshold: str | float, *stages: str) -> None:
    """Run stages at a threshold: a pipeline execution of its own to MLflow, for it has parameters of its own."""
    write_params(folder, {"threshold": threshold})
    ours = ("DVC_", "MLFLOW_", "WHALEID_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    environment |= {"PYTHONPATH": str(ROOT), "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = [sys.executable, "-c", STAGES, *stages]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder where the pipeline ran with the threshold found, and `predict` once more at 0.2."""
    folder = tmp_path_factory.mktemp("project")
    networks = [f"{stage} {variant}" for variant in VARIANTS for stage in ("train", "embed", "calibrate")]
    predict = [f"predict {variant}" for variant in VARIANTS]
    shared = ["sample", "catalog", "dedup", "split", "boxes", "pack", "backbone"]
    execute(folder, "auto", *shared, *networks, "predict phash", *predict)
    execute(folder, 0.2, *predict)
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
    picture(opened.page, folder / f"{request.node.name.removeprefix('test_')}.png")
    assert opened.elsewhere == []


def test_the_run_table_has_variants_and_thresholds(browser: Browser, project: Path) -> None:
    told = ["params.`variant`", "params.`threshold`", "metrics.`threshold`"]
    found = {tuple(row[key] for key in told): float(row["metrics.`map5`"]) for row in browser.see_table("predict")}
    automatic = {
        variant: f"{json.loads((project / paths.calibration(variant)).read_text())['threshold_auto']:g}"
        for variant in VARIANTS
    }
    assert found.keys() == {
        ("phash", "-", "-"),
        *((variant, "auto", automatic[variant]) for variant in VARIANTS),
        *((variant, "0.2", "0.2") for variant in VARIANTS),
    }
    assert list(found.values()) == sorted(found.values(), reverse=True)
    now = json.loads((project / paths.metrics("full")).read_text())
    assert found["full", "0.2", "0.2"] == pytest.approx(now["map5"], abs=1e-6)


def test_a_training_has_a_curve_of_its_loss(browser: Browser, project: Path) -> None:
    browser.see_run(browser.run("train full").info.run_id, "model-metrics")
    browser.page.get_by_text("train full (loss)").first.wait_for()
    charts = browser.page.get_by_test_id("experiment-view-compare-runs-card")
    loss = charts.filter(has_text="train full (loss)")
    loss.locator(".scatterlayer .points path").first.wait_for(state="attached")
    drawn = loss.locator(".js-plotly-plot").evaluate("chart => [chart.data[0].x, chart.data[0].y]")
    history = [line.split(",") for line in (project / paths.history("full")).read_text().splitlines()]
    column = history[0].index("loss")
    assert drawn[0] == [1, 2]
    assert drawn[1] == pytest.approx([float(line[column]) for line in history[1:]], rel=1e-4)


def test_the_report_opens_in_the_artifact_view(browser: Browser) -> None:
    run = browser.run("predict full at 0.2")
    browser.see_run(run.info.run_id, "artifacts/report/report.html")
    told = browser.frame_text()
    for said in ("full", "MAP@5 beside the baselines", "Curves", "Contact sheets", "All figures"):
        assert said in told
    # the pictures are in the page, and drawn
    pictures = browser.page.frame_locator("iframe").locator("figure img")
    assert pictures.count() == 6
    assert all(pictures.evaluate_all("found => found.map(each => each.complete && each.naturalWidth > 300)"))


def test_two_runs_are_compared(browser: Browser) -> None:
    browser.see_comparison([browser.run(name).info.run_id for name in ("predict full", "predict full at 0.2")])
    details, parameters = (browser.page.get_by_role("table").nth(place).get_by_role("row") for place in (0, 1))
    names = details.filter(has_text="Run Name").get_by_role("cell").all_inner_texts()
    assert [name.strip() for name in names[-2:]] == ["predict full", "predict full at 0.2"]
    thresholds = parameters.filter(has_text="threshold").get_by_role("cell").all_inner_texts()
    assert thresholds[-2:] == ["auto", "0.2"]
    # and the plot on top has an axis for what was asked, and one for what came of it
    axes = browser.page.locator(".js-plotly-plot .axis-title").all_text_contents()
    assert axes == ["threshold", "map5"]


def test_the_parent_sums_up_all_variants(browser: Browser, project: Path) -> None:
    parent = browser.run("predict full at 0.2").data.tags["mlflow.parentRunId"]
    browser.see_run(parent)
    browser.page.get_by_text("On validation, each variant at its threshold").wait_for()
    metrics = browser.client.get_run(parent).data.metrics
    assert metrics.keys() == {f"{key}.{variant}" for key in ("map5", "threshold") for variant in VARIANTS}

    browser.see_run(parent, "artifacts/summary.html")
    frame = browser.page.frame_locator("iframe")
    frame.get_by_role("row").first.wait_for()
    first = frame.get_by_role("table").first.get_by_role("row").all()
    shown = {row.get_by_role("cell").first.inner_text(): row.inner_text() for row in first[1:]}
    assert list(shown) == ["phash †", "toy", "full"]  # phash has no threshold: it was not predicted again
    for variant in VARIANTS:
        found = json.loads((project / paths.metrics(variant)).read_text())
        assert f"{found['map5']:.3f}" in shown[variant]
        assert f"0.2 (auto {found['threshold_auto']:g})" in shown[variant]
    assert "† not predicted in this execution" in browser.frame_text()
