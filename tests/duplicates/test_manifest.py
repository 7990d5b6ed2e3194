"""The manifest, conflicts, unique photos and leaks that follow from duplicate groups."""

import numpy as np
import pandas as pd
import pytest

from whaleid.duplicates import groups, manifest
from whaleid.duplicates.leaks import leak_pairs, leak_table

PHOTOS = pd.DataFrame(
    [
        ("a", "w1", "train", 10, 10, "L", "1"),
        ("b", "w1", "train", 10, 10, "RGB", "2"),
        ("c", "w1", "train", 10, 9, "RGB", "3"),
        ("d", "w1", "train", 10, 10, "RGB", "2"),
        ("e", "w2", "train", 9, 9, "RGB", "5"),
        ("f", "new_whale", "train", 9, 9, "L", "6"),
        ("g", "", "test", 99, 99, "RGB", "7"),
        ("h", "w2", "train", 9, 9, "RGB", "8"),
        ("i", "", "test", 9, 9, "L", "9"),
        ("j", "", "test", 9, 9, "RGB", "10"),
        ("k", "new_whale", "train", 5, 5, "L", "11"),
        ("l", "", "test", 9, 9, "L", "12"),
    ],
    columns=["Image", "Id", "part", "width", "height", "mode", "sha256"],
)
GROUP = np.array([0, 0, 0, 0, 1, 1, 1, -1, 2, 2, 3, 3])


def pairs(*rows: tuple[int, int, int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["left", "right", "orientation", "distance", "error"])


COPIES = pairs(
    (0, 1, 0, 2, 0.01),
    (2, 1, 1, 4, 0.02),
    (3, 1, 0, 0, 0.0),
    (5, 4, 0, 0, 0.0),
    (6, 4, 3, 6, 0.03),
    (8, 9, 2, 1, 0.04),
    (11, 10, 0, 0, 0.05),
)


def test_labelled_large_and_colour_photos_rank_first() -> None:
    order = np.argsort(groups.rank_photos(PHOTOS))
    assert PHOTOS["Image"].iloc[order].tolist() == ["b", "d", "a", "c", "e", "h", "f", "k", "g", "j", "i", "l"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I", "I;16", "F"])
def test_a_colour_photo_ranks_before_a_grey_one(mode: str) -> None:
    photos = PHOTOS.iloc[[0, 1]].assign(mode=[mode, "CMYK"])
    assert groups.rank_photos(photos).tolist() == [1, 0]


def test_the_manifest_has_one_row_per_photo() -> None:
    table = manifest.build_manifest(PHOTOS, GROUP, COPIES)
    assert table.columns.tolist() == [
        *("photo", "part", "Id", "group", "representative", "keep", "reason", "distance", "error")
    ]
    assert table.drop(columns=["part", "Id"]).to_numpy().tolist() == [
        ["a", 0, "b", False, "copy", 2, 0.01],
        ["b", 0, "b", True, "best of its group", 0, 0],
        ["c", 0, "b", False, "turned copy", 4, 0.02],
        ["d", 0, "b", False, "same file", 0, 0],
        ["e", 1, "e", False, "labels of its group differ", 0, 0],
        ["f", 1, "e", False, "labels of its group differ", 0, 0],
        ["g", 1, "e", False, "flipped copy", 6, 0.03],
        ["h", -1, "h", True, "no duplicate", 0, 0],
        ["i", 2, "j", False, "mirrored copy", 1, 0.04],
        ["j", 2, "j", True, "best of its group", 0, 0],
        ["k", 3, "k", True, "best of its group", 0, 0],
        ["l", 3, "k", False, "copy", 0, 0.05],
    ]


def test_members_conflicts_and_unique_photos() -> None:
    table = manifest.build_manifest(PHOTOS, GROUP, COPIES)
    grouped = manifest.members(table)
    assert grouped.columns.tolist() == ["group", "Image", "part", "Id"]
    assert grouped["Image"].tolist() == list("abcdefgijkl")
    assert grouped.index.tolist() == [*range(11)]
    assert grouped["group"].tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    # new_whale conflicts with other labels
    assert manifest.conflicts(table).to_dict("split")["data"] == [
        [1, "e", "w2", "new_whale w2"],
        [1, "f", "new_whale", "new_whale w2"],
    ]
    assert manifest.conflicts(table).columns.tolist() == ["group", "Image", "Id", "labels"]
    assert manifest.unique(table).to_dict("split")["data"] == [["b", "w1"], ["h", "w2"], ["k", "new_whale"]]
    assert manifest.unique(table).columns.tolist() == ["Image", "Id"]


def test_leaks_include_conflicts_and_are_sorted_by_distance() -> None:
    rows = leak_pairs(PHOTOS, GROUP)
    assert [(PHOTOS["Image"][q], PHOTOS["Image"][p]) for q, p in rows.tolist()] == [("g", "e"), ("g", "f"), ("l", "k")]
    table = leak_table(PHOTOS, pairs((6, 4, 0, 5, 0.04), (6, 5, 0, 1, 0.06), (11, 10, 0, 0, 0.0)), COPIES)
    assert table.columns.tolist() == ["query", "photo", "Id", "distance", "error", "confidence"]
    assert table.index.tolist() == [0, 1, 2]
    assert table.drop(columns="confidence").to_numpy().tolist() == [
        ["g", "f", "new_whale", 1, 0.06],
        ["g", "e", "w2", 5, 0.04],
        ["l", "k", "new_whale", 0, 0.0],
    ]


def confidence(copies: pd.DataFrame, *leaked: tuple[int, int, int, int, float]) -> list[float]:
    """Return the confidence of each pair in `leaked`."""
    values: list[float] = leak_table(PHOTOS, pairs(*leaked), copies)["confidence"].tolist()
    return values


def test_confidence_is_the_smoothed_agreement_of_labels() -> None:
    # labelled copies: one of two agrees at an error of 0.0, and one of one at 0.01 and at 0.02. A decreasing fit pools
    # them: 3 of 4, smoothed to 4 of 6. The duplicates of g have two labels, so their confidence is halved.
    leaked = (6, 4, 0, 0, 0.0), (6, 5, 0, 0, 0.0), (11, 10, 0, 0, 0.05)
    assert confidence(COPIES, *leaked) == pytest.approx([4 / 6 / 2, 4 / 6 / 2, 4 / 6])
    # pairs at 0.01 and 0.02 agree, the pair at 0.03 does not
    falling = pairs((0, 1, 0, 0, 0.01), (2, 1, 0, 0, 0.02), (5, 4, 0, 0, 0.03))
    values = [confidence(falling, (11, 10, 0, 0, error))[0] for error in (0.0, 0.02, 0.029, 0.03, 0.04)]
    assert values == pytest.approx([3 / 4, 3 / 4, 3 / 4, 1 / 3, 1 / 3])
    # pairs with the same error are pooled: one of two agrees
    assert confidence(pairs((0, 1, 0, 0, 0.01), (5, 4, 0, 0, 0.01)), (11, 10, 0, 0, 0.01)) == pytest.approx([1 / 2])
    # without labelled copies
    assert confidence(COPIES[:0], (11, 10, 0, 0, 0.05)) == [0.5]


def test_without_duplicates_tables_are_empty() -> None:
    photos, group, none = PHOTOS.iloc[[0, 6]].reset_index(drop=True), np.array([-1, -1]), COPIES[:0]
    table = manifest.build_manifest(photos, group, none)
    assert table["reason"].tolist() == ["no duplicate", "no duplicate"]
    assert leak_pairs(photos, group).shape == (0, 2)
    assert leak_table(photos, none, none).empty
    assert manifest.members(table).empty
    assert manifest.conflicts(table).empty
    assert manifest.unique(table).to_numpy().tolist() == [["a", "w1"]]
