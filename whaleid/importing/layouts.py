"""How the folders of a source name its whales: all plausible readings, so that an import does not guess."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from whaleid.core.errors import WhaleidError

Layout = Literal["table", "folders", "subfolders"]
"""What names the whale of a photo: a table, the outermost or the innermost of its folders."""
TRAIN_SPLITS = ("train", "training", "val", "valid", "validation", "dev", "gallery", "database")
"""Names of folders that contain the labelled photos of a split data set, in one folder per whale."""
QUERY_SPLITS = ("test", "testing", "query", "queries")
"""Names of folders that contain the queries of a split data set."""
DATE = re.compile(
    r"(19|20)\d\d([-_. ]?\d\d?){0,2}|\d{1,2}[-_.]\d{1,2}[-_.](19|20)?\d\d|\d{3}[a-z_]\w{4}|dcim", re.IGNORECASE
)
"""Names of folders that sort photos by date or, as cameras do, by number."""
WORD = re.compile(
    r"(all|the|my|our|labell?ed|train|val|test|whales?|flukes?|tails?|dorsals?)?[-_ ]?"
    r"(images?|imgs?|photos?|pictures?|pics?|flukes?|tails?|dorsals?|crops?|cropped|raw|originals?|edited|jpe?gs?|png|"
    r"left|right|data|dataset|files?|exports?|whales)",
    re.IGNORECASE,
)
"""Names of folders that say what is in them; no whale is called so."""
LISTED = 3
"""Maximum number of whales listed for a reading."""


@dataclass(frozen=True)
class Reading:
    """A way to read the folders of a source."""

    layout: Layout
    whales: Mapping[PurePath, str]  # by photo, the name of its folder; an empty string where it lies in no whale's
    queries: frozenset[PurePath]  # the photos in splits of queries

    @property
    def plausible(self) -> bool:
        """Whether every photo is in a folder that may be named after a whale, and not all of these are dates."""
        names = {name for photo, name in self.whales.items() if name or photo not in self.queries}
        return all(names) and not any(map(WORD.fullmatch, names)) and not all(map(DATE.fullmatch, names))

    def describe(self) -> str:
        """Return how many whales and photos this reading has, with some names."""
        counts = Counter(name for name in self.whales.values() if name)
        names = ", ".join(repr(name) for name, _ in counts.most_common(LISTED))
        more = ", …" if len(counts) > LISTED else ""
        return f"--layout {self.layout}: {len(counts):,} whales ({names}{more}), {counts.total():,} photos"


def readings(photos: Sequence[PurePath]) -> tuple[Reading, Reading]:
    """Return how the folders of `photos`, relative to the source, can be read: by the outermost and the innermost.

    Folders that sort photos, such as `2019/` and `left/`, are skipped above and below the folders of the whales.
    Above them, folders that all photos share or that split a data set, such as `train/` and `val/`, are also skipped.
    """
    folders = _skip_above({photo: _skip_below(photo.parts[:-1]) for photo in photos})
    splits = {names[0].casefold() if names else "" for names in folders.values()}
    queries: set[PurePath] = set()
    if splits <= {*TRAIN_SPLITS, *QUERY_SPLITS}:
        queries = {photo for photo, names in folders.items() if names[0].casefold() in QUERY_SPLITS}
        folders = _skip_above({photo: names[1:] for photo, names in folders.items()})
    outermost = {photo: names[0] if names else "" for photo, names in folders.items()}
    innermost = {photo: names[-1] if names else "" for photo, names in folders.items()}
    return Reading("folders", outermost, frozenset(queries)), Reading("subfolders", innermost, frozenset(queries))


def choose(title: str, photos: Sequence[PurePath], layout: Layout | None) -> Reading:
    """Return the reading that the user names by `layout`, else the only plausible one of the source `title`.

    Raises:
        WhaleidError: no reading is plausible, or several are; the message describes them.
    """
    outermost, innermost = readings(photos)
    if layout is not None:
        return outermost if layout == outermost.layout else innermost
    deeper = [photo for photo, name in outermost.whales.items() if name != innermost.whales[photo]]
    candidates = [outermost, innermost] if deeper else [outermost]
    plausible = [reading for reading in candidates if reading.plausible]
    if deeper and all(_sorts(outermost.whales[photo]) for photo in deeper):
        plausible = [reading for reading in plausible if reading is innermost]
    elif len({*outermost.whales.values()}) == 1 and all(WORD.fullmatch(photo.parent.name) for photo in photos):
        plausible = []  # one whale, or a data set with a folder of images
    if len(plausible) == 1:
        return plausible[0]
    problem = (
        "the names of the whales can be the outer or the inner folders"
        if plausible
        else "no folder is named after a whale"
    )
    options = [f"  {reading.describe()}" for reading in plausible or candidates if any(reading.whales.values())]
    remedy = "Add one of these options, or import a csv file with the whale of each photo:"
    if not options:
        remedy = "Import a csv file with the whale of each photo."
    raise WhaleidError("\n".join([f"{title}: {problem}. {remedy}", *options]))


def _skip_above(folders: Mapping[PurePath, tuple[str, ...]]) -> Mapping[PurePath, tuple[str, ...]]:
    """Skip the outermost folder of each photo while it is the same for all photos, or sorts all of them."""
    while folders and all(len(names) > 1 for names in folders.values()):
        outermost = {names[0] for names in folders.values()}
        if len(outermost) > 1 and not all(map(_sorts, outermost)):
            break
        folders = {photo: names[1:] for photo, names in folders.items()}
    return folders


def _skip_below(names: tuple[str, ...]) -> tuple[str, ...]:
    """Skip the innermost of the folders `names` while it sorts photos, unless it is the only one."""
    while len(names) > 1 and _sorts(names[-1]):
        names = names[:-1]
    return names


def _sorts(name: str) -> bool:
    return bool(DATE.fullmatch(name) or WORD.fullmatch(name))
