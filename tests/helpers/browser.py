"""MLflow's pages as a person sees them, in Chromium without a screen.

`python tests/browser.py` takes the documentation's pictures of the runs in `mlflow.db`: docs/mlflow-runs.png, the saved
view of all predictions, and docs/mlflow-report.png, the page of one.
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
"""How long a page may take: under other work, MLflow's takes several seconds."""
SIZE = {"width": 1400, "height": 850}
SEEN = ("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "mlflow.detectIssues.guidanceShown_v1")
"""What MLflow shows once, over a part of the page."""
ROWS = """grid => {
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
"""The rows of a table of runs as seen: top to bottom, cells left to right; in the page, both stand in any order."""
CUT = """cells => cells.filter(cell => {
    const { right } = cell.getBoundingClientRect()
    const texts = [...cell.querySelectorAll('span')].map(text => text.getBoundingClientRect().right)
    return Math.max(0, ...texts) > right || right > cell.closest('.ag-root').getBoundingClientRect().right
}).map(cell => cell.innerText)"""
TRAINING = "workflowType=machine_learning"
"""MLflow opens on its side for chats; this is its other side."""


def chromium() -> str | None:
    """Return where Chromium is installed, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def serve(database: Path) -> Iterator[str]:
    """Serve a copy of the store `database` at an address of this machine alone; its artifacts are read in place."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "mlflow.db")
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        with mlflow_server(f"sqlite:///{copy}") as address:
            yield address


class Browser:
    """A window on MLflow's pages of an experiment. `elsewhere` collects what they ask of other machines."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.client = MlflowClient(address)
        experiment = self.client.get_experiment_by_name("whaleid")
        assert experiment is not None
        self.experiment = experiment.experiment_id
        self.elsewhere: list[str] = []
        page.context.on("request", self._note)

    def _note(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith((self.address, "data:", "blob:", "about:")):
            self.elsewhere.append(url)

    def run(self, name: str) -> Run:
        """Return the newest run of that name."""
        return self.client.search_runs([self.experiment], f"attributes.run_name = '{name}'", max_results=1)[0]

    def see(self, where: str) -> None:
        """Open a page of MLflow."""
        self.page.goto("about:blank")  # else only what stands behind the # changes, and what was shown may stay
        self.page.goto(f"{self.address}/#/{where}{'&' if '?' in where else '?'}{TRAINING}")

    def see_run(self, run: str, tab: str = "") -> None:
        """Open a page of a run: its overview, `model-metrics`, or `artifacts/NAME`."""
        self.see(f"experiments/{self.experiment}/runs/{run}/{tab}".rstrip("/"))

    @contextmanager
    def followed(self, link: str) -> Iterator[None]:
        """Click a link of a description, which opens a window of its own; look at that one until the block ends."""
        before = self.page
        with before.expect_popup() as opened:
            before.get_by_role("link", name=link).first.click()
        self.page = opened.value
        try:
            yield
        finally:
            self.page.close()
            self.page = before

    def see_comparison(self, runs: Sequence[str]) -> None:
        """Open the page that compares runs."""
        self.see(f"compare-runs?runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([self.experiment]))}")
        self.page.get_by_text("Run details").wait_for()
        self.page.get_by_role("table").nth(2).get_by_role("row").first.wait_for()

    def see_view(self, view: views.View) -> list[dict[str, str]]:
        """Open a saved view by its link, without a click; return the rows of its table.

        A row is the text of its cells from left to right, by MLflow's names of columns, such as "metrics.`map5`".
        """
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/{views.link(self.experiment, view)}")
        return self.rows(view)

    def rows(self, view: views.View) -> list[dict[str, str]]:
        """Return the rows of the table that is seen, once it has the columns of `view`."""
        self.page.get_by_text("matching runs").wait_for()
        for name in [*(f"params.`{each}`" for each in view.params), *(f"metrics.`{each}`" for each in view.metrics)]:
            self.page.locator(f".ag-header-cell[col-id='{name}']").wait_for()
        self.page.locator(".ag-center-cols-container [role=row]").first.wait_for()
        rows: list[dict[str, str]] = self.page.locator(".ag-root").evaluate(ROWS)
        return rows

    def headings_cut(self) -> list[str]:
        """Return the headings of the table that is seen which are cut off, or stand beyond the window's edge."""
        cut: list[str] = self.page.locator(".ag-header-cell").evaluate_all(CUT)
        return cut

    def frame_text(self) -> str:
        """Return the text of the page that the artifact view shows."""
        frame = self.page.frame_locator("iframe")
        frame.locator("h1, h2").first.wait_for()
        return frame.locator("body").inner_text()


@contextmanager
def browse(database: Path) -> Iterator[Browser]:
    """Open a window on the runs of a store."""
    with (
        serve(database) as address,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium()) as browser,
    ):
        context = browser.new_context(viewport=SIZE)
        context.set_default_timeout(WAIT_MILLISECONDS)
        for key in SEEN:
            context.add_init_script(f"localStorage.setItem({key!r}, 'true')")
        yield Browser(context.new_page(), address)


def picture(page: Page, path: Path) -> None:
    """Take a picture of what is seen, of few colours: a small file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Take the documentation's pictures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--store", type=Path, default=Path("mlflow.db"))
    parser.add_argument("--prediction", default="margin", help="whose page is shown, kept with its calibration")
    parser.add_argument("--heading", default="MAP@5 and baselines", help="where the page is opened")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    with browse(arguments.store) as browser:
        browser.see_view(views.PREDICTIONS)
        picture(browser.page, arguments.folder / "mlflow-runs.png")
        run = browser.run(f"calibrate {arguments.prediction}").info.run_id
        browser.see_run(run, f"artifacts/{arguments.prediction}.html")
        browser.frame_text()
        browser.page.frame_locator("iframe").get_by_text(arguments.heading).first.evaluate(
            "each => each.scrollIntoView()"
        )
        # where this machine keeps the file is nobody's concern
        browser.page.get_by_text("Path: ").first.evaluate("each => { each.style.visibility = 'hidden' }")
        picture(browser.page, arguments.folder / "mlflow-report.png")


if __name__ == "__main__":
    main()
