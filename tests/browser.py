"""MLflow's pages as a person sees them, in Chromium without a screen.

`python tests/browser.py` takes the documentation's pictures of the runs in `mlflow.db`: docs/mlflow-runs.png and
docs/mlflow-report.png.
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

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright
from servers import mlflow_server

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_MILLISECONDS = 30_000
"""How long a page may take: under other work, MLflow's takes several seconds."""
SIZE = {"width": 1400, "height": 850}
COLUMNS = (("Parameters", "variant"), ("Parameters", "threshold"), ("Metrics", "threshold"), ("Metrics", "map5"))
"""What tells variants and thresholds apart in the table of runs."""
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
        page.on("request", self._note)

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

    def see_comparison(self, runs: Sequence[str]) -> None:
        """Open the page that compares runs."""
        self.see(f"compare-runs?runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([self.experiment]))}")
        self.page.get_by_text("Run details").wait_for()
        self.page.get_by_role("table").nth(2).get_by_role("row").first.wait_for()

    def see_table(self, stage: str, columns: Sequence[tuple[str, str]] = COLUMNS) -> list[dict[str, str]]:
        """Open the table of runs: those of `stage`, the best MAP@5 first, with `columns`; return its rows.

        A row is the text of its cells, by MLflow's names of columns, such as "metrics.`map5`".
        """
        page = self.page
        asked = quote(f"tags.`whaleid.stage` = {stage!r}")
        # sorted by anything but time, runs are not folded into their parents
        self.see(
            f"experiments/{self.experiment}/runs?searchFilter={asked}&orderByKey=metrics.%60map5%60&orderByAsc=false"
        )
        page.get_by_text("matching runs").wait_for()
        page.get_by_test_id("column-selection-dropdown").filter(has_text="Columns").click()
        tree = page.get_by_test_id("column-selector-tree")
        for unwanted in ("Dataset", "Source", "Models"):
            self._tick(tree, "Attributes", unwanted)
        for kind, name in columns:
            self._tick(tree, kind, name)
        page.keyboard.press("Escape")
        tree.wait_for(state="detached")
        page.get_by_role("columnheader", name="map5").first.wait_for()
        rows = page.locator(".ag-center-cols-container").get_by_role("row").all()
        texts = "cells => Object.fromEntries(cells.map(cell => [cell.getAttribute('col-id'), cell.innerText]))"
        return [row.get_by_role("gridcell").evaluate_all(texts) for row in rows]

    def _tick(self, tree: Locator, kind: str, name: str) -> None:
        """Tick a column. Those of all kinds whose names hold `name` are in one list, below the kind's own line."""
        self.page.get_by_placeholder("Search columns").fill(name)
        lines = tree.locator(".du-bois-light-tree-treenode")
        lines.filter(has_text=kind).first.wait_for()
        texts = [text.strip() for text in lines.all_inner_texts()]
        first = next(index for index, text in enumerate(texts) if text.startswith(kind))
        lines.nth(texts.index(name, first)).locator(".du-bois-light-tree-checkbox").click()

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
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(WAIT_MILLISECONDS)
        # the assistant opens by itself, once, over a third of the page
        page.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
        yield Browser(page, address)


def picture(page: Page, path: Path) -> None:
    """Take a picture of what is seen, of few colours: a small file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Take the documentation's pictures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--store", type=Path, default=Path("mlflow.db"))
    parser.add_argument("--run", default="predict ensemble", help="whose report is shown")
    parser.add_argument("--heading", default="Contact sheets", help="where the report is opened")
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    with browse(arguments.store) as browser:
        browser.see_table("predict", [*COLUMNS, ("Metrics", "map5_known"), ("Metrics", "map5_unknown")])
        picture(browser.page, arguments.folder / "mlflow-runs.png")
        browser.see_run(browser.run(arguments.run).info.run_id, "artifacts/report/report.html")
        browser.frame_text()
        browser.page.frame_locator("iframe").get_by_text(arguments.heading).first.evaluate(
            "each => each.scrollIntoView()"
        )
        # where this machine keeps the file is nobody's concern
        browser.page.get_by_text("Path: ").first.evaluate("each => { each.style.visibility = 'hidden' }")
        picture(browser.page, arguments.folder / "mlflow-report.png")


if __name__ == "__main__":
    main()
