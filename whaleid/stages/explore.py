"""Stage `explore`: describe the catalogue in tables, plots and an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.catalog import explore
from whaleid.core import files, paths
from whaleid.core.log import logger
from whaleid.core.record import Record
from whaleid.images.decode import decode
from whaleid.images.previews import contact_sheet, read_previews
from whaleid.report import catalogue, sheets

if TYPE_CHECKING:
    from whaleid.config import Params

INPUTS = [paths.CATALOG, paths.GROUPS, paths.CONFLICTS]
WHALES, PHOTOS = 6, 4
"""Maximum number of rows (whales) and columns (photos of each) of the contact sheet `sheet.png`."""


def run(params: Params) -> Record:
    """Write the folder `paths.EXPLORE` and print a summary.

    Raises:
        InputProblems: photos on the page are missing or damaged.
        WhaleidError: all photos are labelled `new_whale`.
    """
    catalog, groups, conflicts = (files.read_csv(path) for path in INPUTS)
    root = Path(params.data.root)
    figures, tables = explore.summary(catalog), explore.tables(catalog)
    plots = catalogue.draw(tables)
    page_sheets = [*catalogue.whale_sheets(catalog), *catalogue.duplicate_sheets(groups, conflicts)]
    part = catalog.set_index("Image")["part"]
    previews = read_previews({image: root / part[image] / image for image in sheets.photos(page_sheets)})
    html = catalogue.render(str(root), figures, groups, conflicts, page_sheets, previews, [*plots.values()])
    examples = explore.example_photos(catalog, WHALES, PHOTOS)
    sheet = contact_sheet(
        [decode(root / "train" / image) for image in examples["Image"]],
        (examples["Id"] + " " + examples["Image"]).tolist(),
        columns=len(examples) // examples["Id"].nunique(),
    )
    with files.replacing_folder(paths.EXPLORE) as folder:
        files.write_csv(pd.Series(figures, name="value").rename_axis("figure").reset_index(), folder / "summary.csv")
        for name, table in tables.items():
            files.write_csv(table, folder / f"{name}.csv")
        for name, plot in plots.items():
            (folder / f"{name}.png").write_bytes(plot.png)
        sheet.save(folder / "sheet.png")
        (folder / paths.EXPLORE_PAGE.name).write_text(html, encoding="utf-8", newline="\n")
    logger.info(
        f"{figures['labelled']} labelled photos ({figures['new_whale_share']:.1%} of them new_whale) "
        f"and {figures['queries']} queries\n"
        f"{figures['whales']} whales, {figures['single_photo_share']:.1%} of them with a single photo; photos per "
        f"whale: {figures['most_photos']} at most, {figures['mean_photos']:.2f} on average\n"
        f"the 10 % of whales with the most photos have {figures['top_tenth_share']:.1%} of the photos "
        f"(Gini coefficient {figures['gini']:.2f})\n"
        f"page: {paths.EXPLORE_PAGE}"
    )
    return Record(metrics=figures, artifacts=[paths.EXPLORE], inputs=INPUTS)
