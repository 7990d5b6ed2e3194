"""Stage `explore`: tables and pictures of what the catalogue is like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from whaleid.catalog import explore
from whaleid.core import files, paths
from whaleid.core.labels import NEW_WHALE
from whaleid.core.record import Record
from whaleid.images.decode import decode
from whaleid.images.sheets import contact_sheet
from whaleid.images.thumbnails import thumbs
from whaleid.report import plots
from whaleid.report.album import Sheet, Strip, render
from whaleid.report.pictures import Picture

if TYPE_CHECKING:
    from whaleid.config import Params

WHALES, PHOTOS = 6, 4
"""Rows and columns of the contact sheet."""
EACH, FIRST, MOST = 8, 40, 3000
"""On the page: photos of a whale or a group, whales that are not folded away, and photos of whales together."""
GROUPS = 60
"""Groups of duplicates, and of conflicts, on the page."""
TABLES = {"photos_per_whale": "whales_by_photos"}
"""Which table stands behind a plot, where it is not that of its name: one row a whale would be many."""
SAID = {
    "photos_per_whale": ("Photos per whale", "Few whales have many photos, many have a single one."),
    "sizes": ("Sizes", "Photos by their size in pixels."),
    "modes": ("Modes", "Photos in colour and in grey."),
}
"""Title and caption of each plot."""


def run(params: Params) -> Record:
    """Write the folder `paths.EXPLORE`, of which `explore.html` shows all, and print a summary.

    Raises:
        InputProblems: photos that are shown are missing or damaged.
        WhaleidError: no photo shows a whale that has a name.
    """
    catalog, groups, conflicts = (files.read_csv(path) for path in (paths.CATALOG, paths.GROUPS, paths.CONFLICTS))
    figures = explore.summary(catalog)
    tables = {
        "summary": pd.DataFrame({"figure": list(figures), "value": list(figures.values())}),
        "photos_per_whale": explore.photos_per_whale(catalog),
        "whales_by_photos": explore.whales_by_photos(catalog),
        "sizes": explore.sizes(catalog),
        "modes": explore.modes(catalog),
    }
    plotted = {
        "photos_per_whale": plots.png(plots.photos_per_whale(tables["photos_per_whale"]["photos"])),
        "sizes": plots.png(plots.sizes(tables["sizes"])),
        "modes": plots.png(plots.modes(tables["modes"])),
    }
    root = Path(params.data.root)
    with files.replacing_folder(paths.EXPLORE) as folder:
        for name, table in tables.items():
            files.write_csv(table, folder / f"{name}.csv")
        for name, png in plotted.items():
            (folder / f"{name}.png").write_bytes(png)
        _sheet(catalog, root / "train", folder / "sheet.png")
        html = _page(
            figures, [_picture(name, png, tables) for name, png in plotted.items()], catalog, groups, conflicts, root
        )
        (folder / paths.EXPLORE_PAGE.name).write_text(html, encoding="utf-8", newline="\n")
    print(
        f"{figures['labelled']} labelled photos ({figures['new_whale_share']:.1%} of them new_whale) "
        f"and {figures['queries']} to identify\n"
        f"{figures['whales']} whales, {figures['single_photo_share']:.1%} of them with a single photo; "
        f"{figures['most_photos']} photos at most, {figures['mean_photos']:.2f} on average\n"
        f"the tenth of the whales with most photos has {figures['top_tenth_share']:.1%} of them "
        f"(Gini coefficient {figures['gini']:.2f})\n"
        f"{paths.EXPLORE_PAGE} shows it"
    )
    inputs = [paths.CATALOG, paths.GROUPS, paths.CONFLICTS]
    return Record(metrics=figures, artifacts=[paths.EXPLORE], inputs=inputs)


def _sheet(catalog: pd.DataFrame, photos: Path, path: Path) -> None:
    """Write a page of the whales with most photos, a row each."""
    shown = explore.commonest(catalog, WHALES, PHOTOS)
    contact_sheet(
        [decode(photos / name) for name in shown["Image"]],
        [f"{row.Id} {row.Image}" for row in shown.itertuples()],
        columns=len(shown) // shown["Id"].nunique(),
    ).save(path)


def _picture(name: str, png: bytes, tables: Mapping[str, pd.DataFrame]) -> Picture:
    title, says = SAID[name]
    return Picture(title, says, png, tables[TABLES.get(name, name)])


def _page(
    figures: Mapping[str, float],
    pictures: Sequence[Picture],
    catalog: pd.DataFrame,
    groups: pd.DataFrame,
    conflicts: pd.DataFrame,
    root: Path,
) -> str:
    """Return the page: figures, plots, every whale, and what is the same picture."""
    sheets = [*_whales(catalog), *_copies(groups, conflicts)]
    part = dict(zip(catalog["Image"], catalog["part"], strict=True))
    shown = sorted({name for sheet in sheets for strip in sheet.strips for name in strip.photos})
    counts = {
        "labelled photos": f"{figures['labelled']:,}",
        "to identify": f"{figures['queries']:,}",
        "whales": f"{figures['whales']:,}",
        "with a single photo": f"{figures['single_photo_share']:.1%}",
        "photos of no named whale": f"{figures['new_whale_share']:.1%}",
        "photos of a whale at most": f"{figures['most_photos']:,}",
        "groups of duplicates": f"{groups['group'].nunique():,}",
        "of them in conflict": f"{conflicts['group'].nunique():,}",
    }
    lead = [
        f"The tenth of the whales with most photos has {figures['top_tenth_share']:.1%} of all; a whale has "
        f"{figures['mean_photos']:.2f} on average, half of them {figures['median_photos']:g} at most."
    ]
    small = thumbs({name: root / part[name] / name for name in shown})
    return render(f"whaleid: the catalogue {root}", lead, counts, sheets, small, pictures)


def _whales(catalog: pd.DataFrame) -> list[Sheet]:
    """Return the whales, those with most photos first, as far as `MOST` photos go, then photos of no named whale."""
    labelled = catalog[catalog["part"] == "train"].sort_values("Image")
    of = {whale: rows.tolist() for whale, rows in labelled.groupby("Id")["Image"]}
    nobody = of.pop(NEW_WHALE, [])
    whales = explore.photos_per_whale(catalog)["Id"].tolist()
    strips = []
    left = MOST
    for whale in whales:
        names = of[whale][:EACH]
        if len(names) > left:
            break
        left -= len(names)
        count = len(of[whale])
        strips.append(Strip({name: name for name in names}, f"{whale}: {count:,} photo{'s' if count > 1 else ''}"))
    said = f"Up to {EACH} photos of each, those with most photos first."
    if rest := len(whales) - len(strips):
        said += f" Not shown: {rest:,} with the fewest."
    sheets = [Sheet("Whales", said, strips[:FIRST]), Sheet("More whales", "", strips[FIRST:], folded=True)]
    some = {name: name for name in nobody[:FIRST]}
    said = f"{len(nobody):,} photos labelled {NEW_WHALE}; the first of them."
    return [*sheets, Sheet("No named whale", said, [Strip(some, "")] if some else [])]


def _copies(groups: pd.DataFrame, conflicts: pd.DataFrame) -> list[Sheet]:
    """Return groups of the same picture: those whose labels agree, and those whose do not."""
    torn = groups["group"].isin(conflicts["group"])
    found = []
    for rows in (groups[~torn], groups[torn]):
        strips = []
        for _, group in islice(rows.groupby("group"), GROUPS):
            shown = group.head(EACH)
            said = dict(zip(shown["Image"], shown["Id"].replace("", "to identify"), strict=True))
            strips.append(Strip(said, f"{len(group)} photos"))
        found.append(strips)
    agreed, differing = found
    return [
        Sheet("Duplicates", f"The same picture more than once: the first {GROUPS} groups at most.", agreed),
        Sheet(
            "Conflicts",
            "The same picture under several labels: none of these photos is learnt from. Correct train.csv where you "
            "know who it is.",
            differing,
        ),
    ]
