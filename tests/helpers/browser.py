"""Open MLflow's pages in headless Chromium.

Run as a script, this takes the documentation's screenshots of the runs in `mlflow.db`: docs/mlflow-runs.png, the saved
view of all predictions, and docs/mlflow-report.png, the report of one prediction.
"""

import argparse
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from helpers.servers import mlflow_server
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from whaleid.report import views

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_MILLISECONDS = 30_000
"""Timeout of a page. On a busy machine, MLflow's pages take several seconds."""
SIZE = {"width": 1400, "height": 850}
SHOWN_ONCE = ("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "mlflow.detectIssues.guidanceShown_v1")
"""Local-storage keys of notices that MLflow shows once, over a part of the page. Setting them hides the notices."""
ROWS_SCRIPT = """grid => {
    const cells = [...grid.querySelectorAll('[role=gridcell]')].map(cell => [
        Number(cell.closest('[role=row]').getAttribute('row-index')),
        cell.getBoundingClientRect().left,
        cell.getAttribute('col-id'),
        cell.innerText.trim(),
    ]).sort((one, other) => one[0] - other[0] || one[1] - other[1])
    const rows = {}
    for (const [index, , column, text] of cells) (rows[index] ??= {})[column] = text
    return Object.values(rows)
}"""
"""Return the rows of a runs table, sorted as displayed; their order in the DOM is arbitrary."""
TRUNCATED_SCRIPT = """cells => cells.filter(cell => {
    const { right } = cell.getBoundingClientRect()
    const texts = [...cell.querySelectorAll('span')].map(text => text.getBoundingClientRect().right)
    return Math.max(0, ...texts) > right || right > cell.closest('.ag-root').getBoundingClientRect().right
}).map(cell => cell.innerText)"""
"""Return the texts of cells that are truncated or extend beyond the table."""
TRAINING = "workflowType=machine_learning"
"""Query parameter that selects MLflow's machine-learning pages; the default is GenAI."""


def chromium() -> str | None:
    """Return the path of Chromium, or None if it is not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def serve(database: Path) -> Iterator[str]:
    """Serve a copy of the store `database` on localhost; artifacts are read from their original location."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "mlflow.db")
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        with mlflow_server(f"sqlite:///{copy}") as address:
            yield address


class Browser:
    """A browser window on MLflow's pages of the experiment; `external_requests` collects URLs on other hosts."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.client = MlflowClient(address)
        experiment = self.client.get_experiment_by_name("whaleid")
        assert experiment is not None
        self.experiment = experiment.experiment_id
        self.external_requests: list[str] = []
        page.context.on("request", self._record_external)

    def _record_external(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith((self.address, "data:", "blob:", "about:")):
            self.external_requests.append(url)

    def run(self, name: str) -> Run:
        """Return the newest run named `name`."""
        return self.client.search_runs([self.experiment], f"attributes.run_name = '{name}'", max_results=1)[0]

    def open_page(self, route: str) -> None:
        """Open a page of MLflow."""
        # a change of the URL fragment alone does not reload the page, so old content may remain
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/#/{route}{'&' if '?' in route else '?'}{TRAINING}")

    def open_run(self, run: str, tab: str = "") -> None:
        """Open a tab of a run: the overview (default), `model-metrics`, or `artifacts/NAME`."""
        self.open_page(f"experiments/{self.experiment}/runs/{run}/{tab}".rstrip("/"))

    @contextmanager
    def follow_link(self, link: str) -> Iterator[None]:
        """Click a link that opens a new window, and use that window as `page` until the block ends."""
        original = self.page
        with original.expect_popup() as popup:
            original.get_by_role("link", name=link).first.click()
        self.page = popup.value
        try:
            yield
        finally:
            self.page.close()
            self.page = original

    def open_comparison(self, runs: Sequence[str]) -> None:
        """Open the comparison of runs, by run id."""
        self.open_page(
            f"compare-runs?runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([self.experiment]))}"
        )
        self.page.get_by_text("Run details").wait_for()
        self.page.get_by_role("table").nth(2).get_by_role("row").first.wait_for()

    def open_view(self, view: views.View) -> list[dict[str, str]]:
        """Open the URL of a saved view, and return the rows of its table.

        A row maps MLflow's column names, such as "metrics.`map5`", to the text of the cells, from left to right.
        """
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/{views.link(self.experiment, view)}")
        return self.rows(view)

    def rows(self, view: views.View) -> list[dict[str, str]]:
        """Wait until the displayed table has the columns of `view`, and return its rows."""
        self.page.get_by_text("matching runs").wait_for()
        for name in [*(f"params.`{name}`" for name in view.params), *(f"metrics.`{name}`" for name in view.metrics)]:
            self.page.locator(f".ag-header-cell[col-id='{name}']").wait_for()
        self.page.locator(".ag-center-cols-container [role=row]").first.wait_for()
        rows: list[dict[str, str]] = self.page.locator(".ag-root").evaluate(ROWS_SCRIPT)
        return rows

    def truncated_headings(self) -> list[str]:
        """Return the headings of the displayed table that are truncated or extend beyond its edge."""
        headings: list[str] = self.page.locator(".ag-header-cell").evaluate_all(TRUNCATED_SCRIPT)
        return headings

    def frame_text(self) -> str:
        """Return the text of the page displayed in the artifact view."""
        frame = self.page.frame_locator("iframe")
        frame.locator("h1, h2").first.wait_for()
        return frame.locator("body").inner_text()


@contextmanager
def browse(database: Path) -> Iterator[Browser]:
    """Open a browser window on the runs of a store."""
    with (
        serve(database) as address,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium()) as browser,
    ):
        context = browser.new_context(viewport=SIZE)
        context.set_default_timeout(WAIT_MILLISECONDS)
        for key in SHOWN_ONCE:
            context.add_init_script(f"localStorage.setItem({key!r}, 'true')")
        yield Browser(context.new_page(), address)


def take_screenshot(page: Page, path: Path) -> None:
    """Save a screenshot with 128 colours, to keep the file small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Take the documentation's screenshots of MLflow."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--store", type=Path, default=Path("mlflow.db"))
    parser.add_argument("--prediction", default="margin", help="prediction whose report is displayed")
    parser.add_argument("--heading", default="MAP@5 and baselines", help="heading to which the report is scrolled")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    with browse(arguments.store) as browser:
        browser.open_view(views.PREDICTIONS)
        take_screenshot(browser.page, arguments.folder / "mlflow-runs.png")
        run = browser.run(f"calibrate {arguments.prediction}").info.run_id
        browser.open_run(run, f"artifacts/{arguments.prediction}.html")
        browser.frame_text()
        browser.page.frame_locator("iframe").get_by_text(arguments.heading).first.evaluate(
            "heading => heading.scrollIntoView()"
        )
        # hide the local path of the artifact
        browser.page.get_by_text("Path: ").first.evaluate("path => { path.style.visibility = 'hidden' }")
        take_screenshot(browser.page, arguments.folder / "mlflow-report.png")


if __name__ == "__main__":
    main()
