"""The HTML page of stage `explore`: statistics, plots and contact sheets of the catalogue."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import pandas as pd

from whaleid.catalog import explore
from whaleid.core.labels import NEW_WHALE
from whaleid.report import pages, plots
from whaleid.report.pages import Plot
from whaleid.report.sheets import Cell, Sheet, Strip

PHOTOS = 8
"""Maximum number of photos displayed per whale or duplicate group."""
MAX_PHOTOS = 3000
"""Maximum number of photos on the sheets of whales, all whales together."""
UNFOLDED = 40
"""Maximum number of whales on the unfolded sheet, and of photos on the sheet of `new_whale`."""
GROUPS = 60
"""Maximum number of groups on the sheet of duplicates and on the sheet of conflicts."""


def draw(tables: Mapping[str, pd.DataFrame]) -> dict[str, Plot]:
    """Draw the plots of the page from `explore.tables`; return them by name."""
    per_whale, sizes, modes = (tables[name] for name in ("photos_per_whale", "sizes", "modes"))
    return {
        "photos_per_whale": Plot(
            "Photos per whale",
            "Few whales have many photos, many have a single one.",
            plots.png(plots.photos_per_whale(per_whale["photos"])),
            tables["whales_by_photos"],
        ),
        "sizes": Plot("Sizes", "Photos by their size in pixels.", plots.png(plots.sizes(sizes)), sizes),
        "modes": Plot("Modes", "Photos in colour and in grey.", plots.png(plots.modes(modes)), modes),
    }


def render(
    root: str,
    figures: Mapping[str, float],
    groups: pd.DataFrame,
    conflicts: pd.DataFrame,
    sheets: Sequence[Sheet],
    photos: Mapping[str, bytes],
    page_plots: Sequence[Plot],
) -> str:
    """Render the page of the catalogue in the folder `root` as HTML.

    `figures` is the result of `explore.summary`. `groups` has one row per photo of a duplicate group. Its column
    `group` is the number of the group. `conflicts` has the rows of the groups in conflict. `photos` maps the Image of
    every photo of `sheets` to its JPEG preview.
    """
    counts = {
        "labelled photos": f"{figures['labelled']:,}",
        "to identify": f"{figures['queries']:,}",
        "whales": f"{figures['whales']:,}",
        "with a single photo": f"{figures['single_photo_share']:.1%}",
        "photos of no named whale": f"{figures['new_whale_share']:.1%}",
        "most photos of a whale": f"{figures['most_photos']:,}",
        "duplicate groups": f"{groups['group'].nunique():,}",
        "of them in conflict": f"{conflicts['group'].nunique():,}",
    }
    lead = (
        f"A whale has {figures['mean_photos']:.2f} photos on average (median {figures['median_photos']:g}). The tenth "
        f"of the whales with most photos has {figures['top_tenth_share']:.1%} of them."
    )
    return pages.render_sheets(f"whaleid: the catalogue {root}", [lead], sheets, photos, counts, page_plots)


def whale_sheets(catalog: pd.DataFrame) -> list[Sheet]:
    """Return contact sheets of the whales, those with most photos first, then a sheet of `new_whale`.

    `catalog` has the columns `Image,Id,part`. The sheets of whales display at most `MAX_PHOTOS` photos.
    """
    labelled = catalog[catalog["part"] == "train"].sort_values("Image")
    images = {label: rows.tolist() for label, rows in labelled.groupby("Id")["Image"]}
    whales = explore.photos_per_whale(catalog)
    displayed = whales[whales["photos"].clip(upper=PHOTOS).cumsum() <= MAX_PHOTOS]
    strips = [
        Strip([Cell(image, image) for image in images[whale][:PHOTOS]], f"{whale}: {count:,} photo{'s' * (count > 1)}")
        for whale, count in displayed.itertuples(index=False, name=None)
    ]
    caption = f"Up to {PHOTOS} photos of each, whales with most photos first."
    if omitted := len(whales) - len(displayed):
        caption += f" Not shown: {omitted:,} with the fewest."
    unnamed = images.get(NEW_WHALE, [])
    cells = [Cell(image, image) for image in unnamed[:UNFOLDED]]
    return [
        Sheet("Whales", caption, strips[:UNFOLDED]),
        Sheet("More whales", "", strips[UNFOLDED:], folded=True),
        Sheet(
            "No named whale",
            f"{len(unnamed):,} photos are labelled {NEW_WHALE}. These are the first.",
            [Strip(cells)] if cells else [],
        ),
    ]


def duplicate_sheets(groups: pd.DataFrame, conflicts: pd.DataFrame) -> list[Sheet]:
    """Return two contact sheets: duplicate groups whose labels agree, and conflicts.

    `groups` and `conflicts` have the columns `group,Image,Id`, one row per photo.
    """
    conflict = groups["group"].isin(conflicts["group"])
    return [
        Sheet(
            "Duplicates",
            f"The same picture more than once: the first {GROUPS} groups at most.",
            list(_groups(groups[~conflict])),
        ),
        Sheet(
            "Conflicts",
            "The same picture under several labels. None of these photos is learnt from. If you know which label is "
            "right, correct train.csv.",
            list(_groups(groups[conflict])),
        ),
    ]


def _groups(groups: pd.DataFrame) -> Iterator[Strip]:
    for _, group in islice(groups.groupby("group"), GROUPS):
        labels = zip(group["Image"], group["Id"].replace("", "to identify"), strict=True)
        yield Strip([Cell(image, label) for image, label in islice(labels, PHOTOS)], f"{len(group)} photos")
