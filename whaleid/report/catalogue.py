"""The page on the catalogue: figures, plots, its whales, and what is the same picture."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import pandas as pd

from whaleid.catalog import explore
from whaleid.core.labels import NEW_WHALE
from whaleid.report import pages, plots
from whaleid.report.pages import Plot
from whaleid.report.sheets import Cell, Sheet, Strip

PHOTOS = 8
"""Of a whale or a group."""
MAX_PHOTOS = 3000
"""Of whales, together."""
UNFOLDED = 40
"""Whales, or photos of `new_whale`, that are not folded away."""
GROUPS = 60
"""Groups of duplicates, and of conflicts."""


def draw(tables: Mapping[str, pd.DataFrame]) -> dict[str, Plot]:
    """Return the plots of `explore.tables`."""
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
    drawn: Sequence[Plot],
) -> str:
    """Return the page on the catalogue in the folder `root`; `figures` are those of `explore.summary`."""
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
    return pages.render_sheets(f"whaleid: the catalogue {root}", [lead], sheets, photos, counts, drawn)


def whale_sheets(catalog: pd.DataFrame) -> list[Sheet]:
    """Return sheets of the whales, those with most photos first, up to `MAX_PHOTOS`; then of `new_whale`."""
    labelled = catalog[catalog["part"] == "train"].sort_values("Image")
    images = {label: rows.tolist() for label, rows in labelled.groupby("Id")["Image"]}
    whales = explore.photos_per_whale(catalog)
    first = whales[whales["photos"].clip(upper=PHOTOS).cumsum() <= MAX_PHOTOS]
    strips = [
        Strip([Cell(image, image) for image in images[whale][:PHOTOS]], f"{whale}: {count:,} photo{'s' * (count > 1)}")
        for whale, count in first.itertuples(index=False, name=None)
    ]
    caption = f"Up to {PHOTOS} photos of each, whales with most photos first."
    if rest := len(whales) - len(first):
        caption += f" Not shown: {rest:,} with the fewest."
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
    """Return sheets of duplicate groups: those whose labels agree, and conflicts."""
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
