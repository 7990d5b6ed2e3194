"""Compose the synthetic catalogue, in the layout and with the difficulties of the Kaggle competition.

It has a long tail of whales with one photo, photos labelled `new_whale`, copies of every kind, some with another label,
and leaks into `test/`. A photo depends only on the seed, its whale and its number. The same seed therefore gives the
same bytes on any number of cores.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from whaleid.core.files import write_csv
from whaleid.core.labels import CORNERS, NEW_WHALE
from whaleid.core.parallel import parallel_map
from whaleid.sample.copies import KINDS, make_copy
from whaleid.sample.fluke import draw_fluke
from whaleid.sample.photograph import Photo, photograph

if TYPE_CHECKING:
    from whaleid.config import Sample

FREQUENT, OCCASIONAL = (10, 14), (2, 5)
"""Minimum and maximum number of photos of a frequent and of an occasional whale."""
UNKNOWN, LEAKED, COPIED, CONFLICTING = 0.2, 0.08, 0.04, 0.01
"""Shares of queries that show unknown whales and of queries that copy labelled photos; shares of labelled photos that
have a copy of the same label and of those that have a copy of another label."""
FIRST_QUERY = 1000
"""The number of the first query within its whale, above the numbers of all labelled photos."""


@dataclass(frozen=True)
class Entry:
    """A photo of the catalogue, before it is drawn."""

    image: str  # file name
    part: str  # train or test
    label: str
    whale: int  # number of the whale
    number: int  # number of the photo within its whale
    copy: str = ""  # one of KINDS if the photo is a copy; it then follows its original


def draw_catalogue(folder: Path, sizes: Sample, seed: int) -> None:
    """Draw a catalogue into the empty `folder`.

    Write the photos, `train.csv`, `boxes.csv`, `solution.csv`, `sample_submission.csv` and `duplicates.csv`
    (`Image,original,kind`), which lists the copies. Queries have no boxes.
    """
    entries = compose(sizes, seed)
    for part in ("train", "test"):
        (folder / part).mkdir()
    boxes = {}
    for entry, photo in _photos(entries, seed):
        (folder / entry.part / entry.image).write_bytes(photo.jpeg)
        boxes[entry.image] = photo.box

    rows = pd.DataFrame([(e.image, e.label, e.part) for e in entries], columns=["Image", "Id", "part"])
    rows = rows.sort_values("Image")
    train, test = (rows.loc[rows["part"] == part, ["Image", "Id"]] for part in ("train", "test"))
    write_csv(train, folder / "train.csv")
    write_csv(test, folder / "solution.csv")
    whales = train.loc[train["Id"] != NEW_WHALE, "Id"].value_counts().reset_index()
    commonest = whales.sort_values(["count", "Id"], ascending=[False, True])["Id"].head(4)
    write_csv(test.assign(Id=" ".join([NEW_WHALE, *commonest])), folder / "sample_submission.csv")
    pairs = itertools.pairwise(entries)
    copies = [(copy.image, original.image, copy.copy) for original, copy in pairs if copy.copy]
    write_csv(pd.DataFrame(sorted(copies), columns=["Image", "original", "kind"]), folder / "duplicates.csv")
    # as in real catalogues, queries have no boxes: the pipeline has to detect their flukes
    labelled = set(train["Image"])
    corners = [(image, *box) for image, box in sorted(boxes.items()) if image in labelled]
    write_csv(pd.DataFrame(corners, columns=["Image", *CORNERS]), folder / "boxes.csv")


def compose(sizes: Sample, seed: int) -> list[Entry]:
    """Choose the photos of the catalogue. They are ordered by whale, and a copy follows its original."""
    rng = np.random.default_rng([seed, 0])
    known = sizes.frequent + sizes.occasional + sizes.single
    labels = [f"w_{code:07x}" for code in rng.choice(16**7, known, replace=False)]
    frequent, occasional, single = np.split(rng.permutation(known), [sizes.frequent, sizes.frequent + sizes.occasional])
    unknown_whales = itertools.count(known)

    counts = np.ones(known, int)
    counts[frequent] = rng.integers(*FREQUENT, len(frequent), endpoint=True)
    counts[occasional] = rng.integers(*OCCASIONAL, len(occasional), endpoint=True)
    train = [Entry("", "train", labels[whale], whale, n) for whale in range(known) for n in range(counts[whale])]
    train += [Entry("", "train", NEW_WHALE, next(unknown_whales), 0) for _ in range(sizes.new_whale)]
    unknown = max(1, round(UNKNOWN * sizes.queries))
    leaked = min(sizes.queries - unknown, max(2, round(LEAKED * sizes.queries)))

    # copy no photo twice, so that the kind of each copy is clear
    shuffled = [train[index] for index in rng.permutation(len(train))]
    # take conflicts from frequent whales, which have enough photos without them
    candidates = [photo for photo in shuffled if photo.whale in frequent]
    conflicting = candidates[: max(1, round(CONFLICTING * len(train)))]
    unused = (photo for photo in shuffled if photo not in conflicting)
    leaks = list(itertools.islice(unused, leaked))
    originals = list(itertools.islice(unused, max(2, round(COPIED * len(train)))))
    wrong_labels = [NEW_WHALE, *(labels[whale] for whale in frequent)]
    copies = [replace(photo, copy=KINDS[n % len(KINDS)]) for n, photo in enumerate(originals)]
    copies += [replace(photo, part="test", copy=KINDS[n % len(KINDS)]) for n, photo in enumerate(leaks)]
    for n, photo in enumerate(conflicting):
        wrong = rng.choice([label for label in wrong_labels if label != photo.label])
        copies.append(replace(photo, label=str(wrong), copy=KINDS[n % len(KINDS)]))

    queries = [Entry("", "test", NEW_WHALE, next(unknown_whales), 0) for _ in range(unknown)]
    # of the other queries, half show frequent whales, and half show occasional and single ones
    for n in range(sizes.queries - unknown - len(leaks)):
        whale = int(rng.choice((frequent, occasional, frequent, single)[n % 4]))
        queries.append(Entry("", "test", labels[whale], whale, FIRST_QUERY + n))

    entries = sorted([*train, *queries, *copies], key=lambda entry: (entry.whale, entry.number, entry.copy != ""))
    names = rng.choice(2**32, len(entries), replace=False)
    return [replace(entry, image=f"{name:08x}.jpg") for entry, name in zip(entries, names, strict=True)]


def _photos(entries: list[Entry], seed: int) -> Iterator[tuple[Entry, Photo]]:
    """Draw each whale once, and yield each of `entries` with its photo."""
    whales = [list(group) for _, group in itertools.groupby(entries, key=lambda entry: entry.whale)]
    drawn = parallel_map(partial(_draw, seed=seed), whales, "whales drawn")
    for group, photos in zip(whales, drawn, strict=True):
        yield from zip(group, photos, strict=True)


def _draw(entries: list[Entry], seed: int) -> list[Photo]:
    """Draw one whale, and a photo of it for each of `entries`. A copy is made from the photo before it."""
    fluke = draw_fluke(np.random.default_rng([seed, 1, entries[0].whale]))
    photos: list[Photo] = []
    for entry in entries:
        key = (entry.whale, entry.number)
        if entry.copy == "":
            photos.append(photograph(fluke, np.random.default_rng([seed, 2, *key])))
        else:
            photos.append(make_copy(photos[-1], entry.copy, np.random.default_rng([seed, 3, *key])))
    return photos
