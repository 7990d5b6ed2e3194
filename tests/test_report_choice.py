"""Which validation queries the contact sheets hold."""

import numpy as np
import pandas as pd

from whaleid.report.choice import ROWS, chosen


def row(image, best, rank, role="known", threshold=0.3):
    truth = "ann" if role == "known" else "new_whale"
    return {"Image": image, "role": role, "truth": truth, "threshold": threshold, "probability1": best, "rank": rank}


def images(rows):
    return {name: sheet["Image"].tolist() for name, sheet in chosen(pd.DataFrame(rows)).items()}


def test_the_most_confident_and_the_closest_are_chosen():
    rows = [
        row("a", 0.9, 1),
        row("b", 0.95, 1),
        row("c", 0.9, 1),
        row("d", 0.8, 2, role="unknown"),
        row("e", 0.99, 0),
        row("f", 0.2, 1, role="unknown"),  # new_whale ranks first: no whale to be confident of
        row("g", 0.32, 2, role="unknown"),
        row("h", 0.98, 0, role="new_whale"),  # may be of a known whale, so it is not wrong for certain
        row("i", 0.97, 1, role="duplicate"),
    ]
    expected = {"right": ["b", "a", "c"], "wrong": ["e", "d", "g"], "close": ["g", "f", "d", "a", "c", "b", "e"]}
    assert images(rows) == expected
    assert images(rows[::-1]) == expected


def test_closeness_is_to_the_threshold_that_was_applied():
    assert images([row("a", 0.5, 1, threshold=0.2), row("b", 0.9, 1, threshold=0.8)])["close"] == ["b", "a"]


def test_a_sheet_has_a_dozen():
    rows = [row(f"{number:02}", 0.5 + number / 100, 1) for number in range(20)]
    sheets = images(rows)
    assert sheets["right"] == [f"{number:02}" for number in range(19, 7, -1)]
    assert [len(names) for names in sheets.values()] == [ROWS, 0, ROWS] == [12, 0, 12]


def test_without_a_threshold_any_whale_ranks_first_and_none_is_close():
    rows = [row("a", 1.0, 1, threshold=np.nan), row("b", 0.0, 0, threshold=np.nan)]
    assert images(rows) == {"right": ["a"], "wrong": [], "close": []}
