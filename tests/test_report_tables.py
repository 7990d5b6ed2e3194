"""The tables behind a report's pictures, worked out by hand, and what the pictures show of them."""

import numpy as np
import pandas as pd
import pytest

from whaleid.report import curves, plots, tables

COLUMNS = ["Image", "whale", "role", "truth", "threshold", "uncalibrated", "rank"]
ROWS = [
    # best whales and their probabilities last
    ("k1", "ann", "known", "ann", 0.3, 0.95, 1, ["ann", "bob"], [0.9, 0.05]),
    ("k2", "ann", "known", "ann", 0.3, 0.85, 2, ["bob", "ann"], [0.5, 0.4]),
    ("k3", "bob", "known", "bob", 0.3, 0.6, 2, ["bob", "ann"], [0.2, 0.1]),
    ("k4", "cat", "known", "cat", 0.3, 0.55, 0, ["ann", "bob"], [0.25, 0.1]),
    ("u1", "dan", "unknown", "new_whale", 0.3, 0.5, 1, ["ann", "bob"], [0.1, 0.1]),
    ("u2", "eve", "unknown", "new_whale", 0.3, 0.9, 2, ["bob", "ann"], [0.6, 0.1]),
    ("n1", "new_whale", "new_whale", "new_whale", 0.3, 0.9, 0, ["bob", "ann"], [0.95, 0.9]),
    ("d1", "ann", "duplicate", "ann", 0.3, 1.0, 1, ["ann", ""], [1.0, 0.0]),
    ("d2", "new_whale", "duplicate", "new_whale", 0.3, 0.4, 2, ["bob", ""], [0.4, 0.0]),
]


def answers(rows=ROWS):
    frame = pd.DataFrame([row[:7] for row in rows], columns=COLUMNS)
    for place in range(5):
        frame[f"label{place + 1}"] = [row[7][place] if place < len(row[7]) else "" for row in rows]
        frame[f"probability{place + 1}"] = [row[8][place] if place < len(row[8]) else 0.0 for row in rows]
    return frame


def lines(table):
    return list(table.itertuples(index=False, name=None))


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_photos_of_new_whale_count_only_where_no_whale_was_held_out():
    roles = pd.Series(["known", "unknown", "new_whale", "duplicate", "new_whale_train"])
    assert tables.kinds(roles).tolist() == ["known", "unknown", "", "duplicate", ""]
    assert tables.kinds(roles[roles != "unknown"]).tolist() == ["known", "unknown", "duplicate", ""]


def test_share_of_unknowns_mixes_the_means_of_the_kinds():
    table = tables.unknown_share(answers(), duplicate_share=0.2)
    known, unknown, duplicates = (1 + 1 / 2 + 1 / 2 + 0) / 4, (1 + 1 / 2) / 2, (1 + 1 / 2) / 2
    assert len(table) == 21
    by_share = table.set_index("unknown_share")
    for share in (0.0, 0.3, 1.0):
        expected = 0.8 * ((1 - share) * known + share * unknown) + 0.2 * duplicates
        assert by_share.loc[share, "map5"] == pytest.approx(expected)
        # one of the two duplicates is of new_whale
        assert by_share.loc[share, "all_new_whale"] == pytest.approx(0.8 * share + 0.2 / 2)


def test_share_of_unknowns_without_duplicates_or_unknowns():
    frame = answers()
    table = tables.unknown_share(frame[frame["role"] == "known"], duplicate_share=0.2)
    assert table["map5"].tolist() == pytest.approx([0.5] * 21)
    assert table["all_new_whale"].tolist() == pytest.approx([number / 20 for number in range(21)])


def test_reliability_of_weighed_queries():
    importance = np.array([0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0, 0.1, 0.1])
    table = tables.reliability(answers(), importance)
    after = table[table["calibrated"] == 1].drop(columns="calibrated")
    assert lines(after.round(6)) == [
        (0.0, 0.1, 1, 0.1, 0.0),  # u1: 0.1 is in the bin it ends
        (0.1, 0.2, 1, 0.2, 1.0),  # k3
        (0.2, 0.3, 1, 0.25, 0.0),  # k4
        (0.3, 0.4, 1, 0.4, 0.0),  # d2
        (0.4, 0.5, 1, 0.5, 0.0),  # k2
        (0.5, 0.6, 1, 0.6, 0.0),  # u2
        (0.8, 0.9, 1, 0.9, 1.0),  # k1
        (0.9, 1.0, 1, 1.0, 1.0),  # d1
    ]
    before = table[table["calibrated"] == 0]
    assert before["queries"].sum() == 8
    # k2 counts twice as much as u2, and neither is right; k1 twice as much as d1, and both are
    assert lines(before[before["least"] >= 0.8][["queries", "said", "right"]].round(6)) == [
        (2, round((2 * 0.85 + 0.9) / 3, 6), 0.0),
        (2, round((2 * 0.95 + 1.0) / 3, 6), 1.0),
    ]


def test_scores_are_counted_by_kind():
    table = tables.scores(answers()).set_index("least")
    assert table.loc[0.9, ["known_right", "known_wrong", "unknown"]].tolist() == [1, 0, 0]
    assert table.loc[0.5, ["known_right", "known_wrong", "unknown"]].tolist() == [0, 1, 0]
    assert table.loc[0.6, ["known_right", "known_wrong", "unknown"]].tolist() == [0, 0, 1]
    assert table[["known_right", "known_wrong", "unknown"]].sum().tolist() == [2, 2, 2]


def test_ranks_with_new_whale_and_without():
    assert lines(tables.ranks(answers())) == [(1, 1, 2), (2, 2, 1), (3, 0, 0), (4, 0, 0), (5, 0, 0), (0, 1, 1)]


def test_photos_of_a_whale_against_its_score():
    photos = pd.Series({"ann": 7, "bob": 1, "zoe": 30})  # of cat there is none left
    assert lines(tables.photos(answers(), photos)) == [(0, 0, 1, 0.0), (1, 1, 1, 0.5), (6, 9, 2, 0.75)]
    # the last class ends with the most photos there are
    assert lines(tables.photos(answers(), photos.replace({7: 34}))) == [
        (0, 0, 1, 0.0),
        (1, 1, 1, 0.5),
        (20, 34, 2, 0.75),
    ]


CURVE = pd.DataFrame(
    {"threshold": [0, 0.5, 1], "map5": [0.4, 0.6, 0.2], "map5_known": [0.5, 0.4, 0.0], "map5_unknown": [0.1, 0.8, 1.0]}
)


def test_threshold_curve_marks_auto_and_the_chosen_one():
    (axes,) = curves.threshold(CURVE, 0.5, 0.25).axes
    assert legend(axes) == ["known", "unknown", "overall", "auto 0.5", "chosen 0.25: 0.500"]
    (axes,) = curves.threshold(CURVE.drop(columns="map5_unknown"), 0.5, 0.5).axes
    assert legend(axes) == ["known", "overall", "auto 0.5"]


def test_share_curve_marks_the_declared_share():
    (axes,) = curves.unknown_share(tables.unknown_share(answers(), 0), 0.3).axes
    assert legend(axes) == ["this variant", "new_whale to everything", "declared 0.3: 0.575"]


def test_reliability_shows_both_and_their_counts():
    table = tables.reliability(answers(), np.full(len(ROWS), 1 / len(ROWS)))
    axes, counts = curves.reliability(table).axes
    assert legend(axes) == ["as said", "before calibration", "after"]
    assert sum(bar.get_height() for bar in counts.patches) == 2 * len(ROWS)


def test_scores_and_ranks_and_photos_say_their_numbers():
    panels = curves.scores(tables.scores(answers()), 0.3).axes
    assert [axes.get_title("right") for axes in panels] == [
        "known, best whale right: 2",
        "known, best whale wrong: 2",
        "unknown: 2",
    ]
    (axes,) = curves.ranks(tables.ranks(answers())).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4", "5", "beyond"]
    assert [text.get_text() for text in axes.texts[:6]] == ["25%", "50%", "0%", "0%", "0%", "25%"]
    (axes,) = curves.photos(tables.photos(answers(), pd.Series({"ann": 7, "bob": 1}))).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0\n1", "1\n1", "6–9\n2"]  # noqa: RUF001
    assert [text.get_text() for text in axes.texts] == ["0.00", "0.50", "0.75"]


def test_a_picture_without_queries_is_drawn_all_the_same():
    none = answers([row for row in ROWS if row[2] == "new_whale_train"])
    for figure in (
        curves.ranks(tables.ranks(none)),
        curves.photos(tables.photos(none, pd.Series({"ann": 7}))),
        curves.scores(tables.scores(none), 0.3),
        curves.reliability(tables.reliability(none, np.zeros(0))),
        curves.unknown_share(tables.unknown_share(none, 0.1), 0.3),
    ):
        assert plots.png(figure).startswith(b"\x89PNG")
