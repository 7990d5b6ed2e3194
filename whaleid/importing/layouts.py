"""How the folders of a source name its whales: all plausible readings, so that an import does not guess."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from whaleid.core.errors import WhaleidError

Layout = Literal["table", "folders", "subfolders"]
"""What names the whale of a photo: a table, the outermost or the innermost of its folders."""
Folders = Mapping[PurePath, tuple[str, ...]]
"""The names of the folders of each photo, the outermost first."""
TRAIN_SPLITS = ("train", "training", "val", "valid", "validation", "dev", "gallery", "database")
"""Names of folders that contain the labelled photos of a split data set, in one folder per whale."""
QUERY_SPLITS = ("test", "testing", "query", "queries")
"""Names of folders that contain the queries of a split data set."""
SPLITS = frozenset(TRAIN_SPLITS + QUERY_SPLITS)
"""Names of folders that split a data set."""
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0?[1-9]|1[0-2])"
DATE = re.compile(
    rf"(?:19|20)\d\d(?:[-_. ]{_MONTH}(?:[-_. ]{_DAY})?|(?=\d\d){_MONTH}(?:(?=\d\d){_DAY})?)?"
    rf"|{_DAY}[-_.]{_DAY}[-_.](?:19|20)?\d\d"
)
"""Years, months and days."""
CAMERA = re.compile(
    r"dcim|\d{3}[-_]?(?:canon|eos\w{1,2}|nikon|d\d{4}|n[cdz]\w{3}|___\d\d|msdcf|anv01|apple|pana|olymp|gopro|fuji|casio|pentx|leica|"
    r"ricoh|sigma|kodak|media)",
    re.IGNORECASE,
)
"""Names of folders that cameras create."""
# fmt: off
WORDS = frozenset({
    "all", "the", "my", "our", "labeled", "labelled", "train", "val", "test", "whale", "whales", "fluke", "flukes",
    "tail", "tails", "dorsal", "dorsals", "image", "images", "img", "imgs", "photo", "photos", "picture",
    "pictures", "pic", "pics", "crop", "crops", "cropped", "raw", "original", "originals", "edited", "jpg", "jpgs",
    "jpeg", "jpegs", "png", "left", "right", "data", "dataset", "file", "files", "export", "exports", "foto",
    "fotos", "fotografias", "bild", "bilder", "imagen", "imagenes", "imagem", "imagens",
})
# fmt: on
"""Words in the names of folders that say what is in them; no whale is called so."""
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
        return all(names) and not any(map(_is_words, names)) and not all(map(_sorts, names))

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
    Years that may be the numbers of whales, because each is below one folder only, are the innermost folders.
    """
    folders = {photo: photo.parts[:-1] for photo in photos}
    queries: frozenset[PurePath] = frozenset()
    below = _skip_above(folders)
    if {names[0].casefold() if names else "" for names in below.values()} <= SPLITS:
        queries = frozenset(photo for photo, names in below.items() if names[0].casefold() in QUERY_SPLITS)
        folders = {photo: names[1:] for photo, names in below.items()}
        labels = {name for photo, names in folders.items() if photo not in queries for name in names}
        for photo in queries:
            if all(_is_words(name) or (_sorts(name) and name not in labels) for name in folders[photo]):
                folders[photo] = ()
    skipped = _skip_above(_skip_below(folders, _sorts))
    outermost = {photo: names[0] if names else "" for photo, names in skipped.items()}
    innermost = {photo: names[-1] if names else "" for photo, names in skipped.items()}
    numbered = _skip_below(folders, lambda name: _sorts(name) and not (len(name) == 4 and name.isdecimal()))
    levels = {len(names) for names in _skip_above(numbered).values()}
    if outermost == innermost or levels in ({1}, {2}):
        whales = {photo: names[-1] if names else "" for photo, names in numbered.items()}
        if len({*whales.values()}) == len({*numbered.values()}) and not any(map(_is_words, whales.values())):
            innermost = whales
    return Reading("folders", outermost, queries), Reading("subfolders", innermost, queries)


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
        if any(DATE.fullmatch(name) for photo, name in outermost.whales.items() if name == innermost.whales[photo]):
            plausible = []  # some dates are whales, others are above whales
    elif deeper and outermost.plausible and all(DATE.fullmatch(innermost.whales[photo]) for photo in deeper):
        # Below one folder, numbers are years. Below several, they may be whales.
        plausible = candidates if len({outermost.whales[photo] for photo in deeper}) > 1 else [outermost]
    elif len({*outermost.whales.values()}) == 1 and all(_is_words(photo.parent.name) for photo in photos):
        plausible = []  # one whale, or a data set with a folder of images
    if len(plausible) == 1:
        return plausible[0]
    names = {*outermost.whales.values()}
    words = sorted(filter(_is_words, names))
    if plausible:
        problem = "the names of the whales can be the outer or the inner folders"
    elif words and not all(map(_sorts, filter(None, names))):
        problem = f"names of folders that may not be whales: {', '.join(map(repr, words))}"
    else:
        problem = "no folder is named after a whale"
    options = [f"  {reading.describe()}" for reading in plausible or candidates if any(reading.whales.values())]
    remedy = "Add one of these options, or import a csv file with the whale of each photo:"
    if not options:
        remedy = "Import a csv file with the whale of each photo."
    raise WhaleidError("\n".join([f"{title}: {problem}. {remedy}", *options]))


def _skip_above(folders: Folders) -> Folders:
    """Skip the outermost folder of each photo while it is the same for all photos, or sorts all of them."""
    while folders and all(len(names) > 1 for names in folders.values()):
        outermost = {names[0] for names in folders.values()}
        if len(outermost) > 1 and not all(map(_sorts, outermost)):
            break
        folders = {photo: names[1:] for photo, names in folders.items()}
    return folders


def _skip_below(folders: Folders, sorts: Callable[[str], bool]) -> Folders:
    """Skip the innermost folder of each photo while it and all folders beside it sort photos; keep one folder."""
    subfolders: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for names in {*folders.values()}:
        for level in range(1, len(names)):
            subfolders[names[:level]].add(names[level])
    sorting = {parent for parent, names in subfolders.items() if all(map(sorts, names))}
    result = {}
    for photo, names in folders.items():
        while names[:-1] in sorting:
            names = names[:-1]
        result[photo] = names
    return result


def _is_words(name: str) -> bool:
    name = name.casefold()
    return name not in SPLITS and all(word in WORDS for word in re.split("[-_ ]", name))


def _sorts(name: str) -> bool:
    return bool(DATE.fullmatch(name) or CAMERA.fullmatch(name)) or _is_words(name)
