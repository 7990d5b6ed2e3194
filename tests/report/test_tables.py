"""The tables behind the page of a prediction, compared with values calculated by hand."""

import numpy as np
import pandas as pd
import pytest

from whaleid.identification import figures
from whaleid.identification.map5 import Shares
from whaleid.identification.ranking import at_threshold
from whaleid.identification.threshold import THRESHOLDS
from whaleid.report import tables

COLUMNS = ["Image", "whale", "role", "truth", "threshold", "uncalibrated", "rank"]
ROWS = [
    # COLUMNS, then the two best whales and their probabilities
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
    for i in range(5):
        frame[f"label{i + 1}"] = [row[7][i] if i < len(row[7]) else "" for row in rows]
        frame[f"probability{i + 1}"] = [row[8][i] if i < len(row[8]) else 0.0 for row in rows]
    return frame


RANKS = answers()[["rank"]].to_numpy()
PHOTOS_PER_WHALE = pd.Series({"ann": 7, "bob": 1, "zoe": 30})  # cat has no photo in the gallery


def table_rows(table):
    """Return the rows of a table at a single threshold."""
    return list(zip(*(np.round(column.ravel(), 6).tolist() for column in table.values()), strict=True))


def test_unknown_share_weights_the_means_of_the_kinds():
    table = tables.unknown_share(answers(), RANKS, duplicate_share=0.2)
    known, unknown, duplicates = (1 + 1 / 2 + 1 / 2 + 0) / 4, (1 + 1 / 2) / 2, (1 + 1 / 2) / 2
    share = table["unknown_share"]
    assert share.tolist() == [number / 20 for number in range(21)]
    assert table["map5"][:, 0] == pytest.approx(0.8 * ((1 - share) * known + share * unknown) + 0.2 * duplicates)
    assert table["all_new_whale"] == pytest.approx(0.8 * share + 0.2 / 2)  # one of the two duplicates is of new_whale


def test_unknown_share_without_duplicates_or_unknown_queries():
    known = (answers()["role"] == "known").to_numpy()
    table = tables.unknown_share(answers()[known], RANKS[known], duplicate_share=0.2)
    assert table["map5"][:, 0] == pytest.approx(0.5)
    assert table["all_new_whale"] == pytest.approx(table["unknown_share"])


def test_reliability_of_weighted_queries():
    table = tables.reliability(answers(), np.array([0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0, 0.1, 0.1]))
    rows = table_rows(table)
    assert [row[1:] for row in rows if row[0] == 1] == [
        (0.0, 0.1, 1, 0.1, 0.0),  # u1: a bin includes its upper end
        (0.1, 0.2, 1, 0.2, 1.0),  # k3
        (0.2, 0.3, 1, 0.25, 0.0),  # k4
        (0.3, 0.4, 1, 0.4, 0.0),  # d2
        (0.4, 0.5, 1, 0.5, 0.0),  # k2
        (0.5, 0.6, 1, 0.6, 0.0),  # u2
        (0.8, 0.9, 1, 0.9, 1.0),  # k1
        (0.9, 1.0, 1, 1.0, 1.0),  # d1
    ]
    before = [row[1:] for row in rows if row[0] == 0]
    assert sum(row[2] for row in before) == 8
    # k2 has twice the weight of u2, and both are wrong; k1 has twice the weight of d1, and both are right
    assert before[-2:] == [
        (0.8, 0.9, 2, round((2 * 0.85 + 0.9) / 3, 6), 0.0),
        (0.9, 1.0, 2, round((2 * 0.95 + 1.0) / 3, 6), 1.0),
    ]


def test_scores_are_counted_by_kind():
    table = tables.scores(answers())
    counts = pd.DataFrame(table).set_index("least")[["known_right", "known_wrong", "unknown"]]
    assert counts.loc[[0.9, 0.5, 0.6]].to_numpy().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert counts.sum().tolist() == [2, 2, 2]


def test_ranks_with_new_whale_and_without():
    assert table_rows(tables.ranks(answers(), RANKS)) == [
        *((1, 1, 2), (2, 2, 1), (3, 0, 0), (4, 0, 0), (5, 0, 0), (0, 1, 1)),
    ]


def test_map5_by_photos_of_the_whale():
    first = [(0, 0, 1, 0.0), (1, 1, 1, 0.5)]
    assert table_rows(tables.photos(answers(), RANKS, PHOTOS_PER_WHALE)) == [*first, (6, 9, 2, 0.75)]
    # the upper limit of the last class is the largest number of photos
    more = tables.photos(answers(), RANKS, PHOTOS_PER_WHALE.replace({7: 34}))
    assert table_rows(more) == [*first, (20, 34, 2, 0.75)]


def test_tables_and_figures_at_each_threshold_equal_those_of_predict():
    frame, shares = answers().assign(cluster=np.arange(9) // 2), Shares(0.3, 0.2)
    auto = at_threshold(frame)
    plots, result = tables.plot_tables(auto, shares, PHOTOS_PER_WHALE), tables.figures(auto, shares)
    by_threshold = {name: [key for key, column in table.items() if column.ndim == 2] for name, table in plots.items()}
    assert by_threshold == {
        **{"unknown_share": ["map5"], "reliability": [], "scores": []},
        **{"ranks": ["queries"], "photos": ["map5"]},
    }
    assert {len(rows) for rows in result.values()} == {len(THRESHOLDS) + 1}
    for threshold, step in ((0.0, 0), (0.3, 60), (0.4, 80), (1.0, 200), ("auto", -1)):
        decided = auto if threshold == "auto" else at_threshold(frame, threshold)
        measured = figures.measure(decided, shares)
        assert result.keys() == {key for key in measured if f"{key}_low" in measured}
        for key, rows in result.items():
            assert rows[step] == pytest.approx([measured[f"{key}{end}"] for end in ("", "_low", "_high")])
        ranks = decided[["rank"]].to_numpy()
        for name, table in (
            ("unknown_share", tables.unknown_share(decided, ranks, shares.duplicate)),
            ("ranks", tables.ranks(decided, ranks)),
            ("photos", tables.photos(decided, ranks, PHOTOS_PER_WHALE)),
        ):
            (key,) = by_threshold[name]
            assert plots[name][key][:, step] == pytest.approx(table[key][:, 0])


def test_without_a_threshold_tables_have_one_column():
    frame = at_threshold(answers().drop(columns="threshold").assign(cluster=np.arange(9)))
    assert {len(rows) for rows in tables.figures(frame, Shares(0.3, 0.2)).values()} == {1}
    plots = tables.plot_tables(frame, Shares(0.3, 0.2), PHOTOS_PER_WHALE)
    assert [*plots] == ["unknown_share", "ranks", "photos"]
    assert plots["ranks"]["queries"].shape == (6, 1)


def test_tables_without_queries_are_empty():
    separate, ranks = answers([(*ROWS[4][:2], "new_whale_train", *ROWS[4][3:])]), RANKS[:1]
    assert tables.ranks(separate, ranks)["queries"].sum() == 0
    assert table_rows(tables.photos(separate, ranks, PHOTOS_PER_WHALE)) == []
    assert tables.scores(separate)["unknown"].sum() == 0
    assert table_rows(tables.reliability(separate, np.zeros(1))) == []
    assert tables.unknown_share(separate, ranks, 0.1)["map5"].tolist() == [[0.0]] * 21


def row(image, best, rank, role="known", threshold=0.3):
    truth = "ann" if role == "known" else "new_whale"
    return {"Image": image, "role": role, "truth": truth, "threshold": threshold, "probability1": best, "rank": rank}


def images(rows):
    return {name: sheet["Image"].tolist() for name, sheet in tables.examples(pd.DataFrame(rows)).items()}


def test_examples_are_the_most_confident_and_the_closest():
    rows = [
        row("a", 0.9, 1),
        row("b", 0.95, 1),
        row("c", 0.9, 1),
        row("d", 0.8, 2, role="unknown"),
        row("e", 0.99, 0),
        row("f", 0.2, 1, role="unknown"),  # new_whale ranks first, so no whale is predicted with confidence
        row("g", 0.32, 2, role="unknown"),
        row("h", 0.98, 0, role="new_whale"),  # may be of a known whale, so it is not certainly wrong
        row("i", 0.97, 1, role="duplicate"),
    ]
    expected = {"right": ["b", "a", "c"], "wrong": ["e", "d", "g"], "close": ["g", "f", "d", "a", "c", "b", "e"]}
    assert images(rows) == expected
    assert images(rows[::-1]) == expected


def test_examples_close_to_the_threshold_of_their_fold():
    assert images([row("a", 0.5, 1, threshold=0.2), row("b", 0.9, 1, threshold=0.8)])["close"] == ["b", "a"]


def test_a_sheet_has_at_most_twelve_examples():
    rows = [row(f"{number:02}", 0.5 + number / 100, 1) for number in range(20)]
    sheets = images(rows)
    assert sheets["right"] == [f"{number:02}" for number in range(19, 7, -1)]
    assert [len(names) for names in sheets.values()] == [12, 0, 12]


def test_without_a_threshold_any_whale_ranks_first_and_no_example_is_close():
    rows = [row("a", 1.0, 1, threshold=np.nan), row("b", 0.0, 0, threshold=np.nan)]
    assert images(rows) == {"right": ["a"], "wrong": [], "close": []}
