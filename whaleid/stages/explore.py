"""Stage `explore`: tables and pictures of what the catalogue is like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid import files, paths
from whaleid.catalog import explore
from whaleid.images.decode import decode
from whaleid.record import Record
from whaleid.report import plots
from whaleid.report.sheets import contact_sheet

if TYPE_CHECKING:
    from whaleid.params import Params

WHALES, PHOTOS = 6, 4
"""Rows and columns of the contact sheet."""


def run(params: Params) -> Record:
    """Write the folder `paths.EXPLORE` and print a summary."""
    catalog = files.read_csv(paths.CATALOG)
    figures = explore.summary(catalog)
    tables = {
        "summary": pd.DataFrame({"figure": list(figures), "value": list(figures.values())}),
        "photos_per_whale": explore.photos_per_whale(catalog),
        "whales_by_photos": explore.whales_by_photos(catalog),
        "sizes": explore.sizes(catalog),
        "modes": explore.modes(catalog),
    }
    with files.replacing_folder(paths.EXPLORE) as folder:
        for name, table in tables.items():
            files.write_csv(table, folder / f"{name}.csv")
        plots.save(plots.photos_per_whale(tables["photos_per_whale"]["photos"]), folder / "photos_per_whale.png")
        plots.save(plots.sizes(tables["sizes"]), folder / "sizes.png")
        plots.save(plots.modes(tables["modes"]), folder / "modes.png")
        _sheet(catalog, Path(params.data.root) / "train", folder / "sheet.png")
    print(
        f"{figures['labelled']} labelled photos ({figures['new_whale_share']:.1%} of them new_whale) "
        f"and {figures['queries']} to identify\n"
        f"{figures['whales']} whales, {figures['single_photo_share']:.1%} of them with a single photo; "
        f"{figures['most_photos']} photos at most, {figures['mean_photos']:.2f} on average\n"
        f"the tenth of the whales with most photos has {figures['top_tenth_share']:.1%} of them "
        f"(Gini coefficient {figures['gini']:.2f})"
    )
    return Record(metrics=figures, artifacts=[paths.EXPLORE], inputs=[paths.CATALOG])


def _sheet(catalog: pd.DataFrame, photos: Path, path: Path) -> None:
    """Write a page of the whales with most photos, a row each."""
    shown = explore.commonest(catalog, WHALES, PHOTOS)
    contact_sheet(
        [decode(photos / name) for name in shown["Image"]],
        [f"{row.Id} {row.Image}" for row in shown.itertuples()],
        columns=len(shown) // shown["Id"].nunique(),
    ).save(path)
