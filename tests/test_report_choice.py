"""Which queries are shown, and how an answer is laid out."""

import numpy as np
import pandas as pd

from whaleid.report.choice import SHOWN, Candidate, chosen, submitted, validated


def row(image, best, rank, role="known", threshold=0.3):
    truth = "ann" if role == "known" else "new_whale"
    return {"Image": image, "role": role, "truth": truth, "threshold": threshold, "probability1": best, "rank": rank}


def images(rows):
    return {name: found["Image"].tolist() for name, found in chosen(pd.DataFrame(rows)).items()}


def test_the_most_confident_and_the_closest_are_chosen():
    rows = [
        row("a", 0.9, 1),
        row("b", 0.95, 1),
        row("c", 0.9, 1),
        row("d", 0.8, 2, role="unknown"),
        row("e", 0.99, 0),
        row("f", 0.2, 1, role="unknown"),  # new_whale was ranked first: no whale to be confident of
        row("g", 0.32, 2, role="unknown"),
        row("h", 0.98, 0, role="new_whale"),  # may be of a known whale: it is not said to be wrong
        row("i", 0.97, 1, role="duplicate"),
    ]
    expected = {"right": ["b", "a", "c"], "wrong": ["e", "d", "g"], "close": ["g", "f", "d", "a", "c", "b", "e"]}
    assert images(rows) == expected
    assert images(rows[::-1]) == expected


def test_closeness_is_to_the_threshold_that_was_applied():
    assert images([row("a", 0.5, 1, threshold=0.2), row("b", 0.9, 1, threshold=0.8)])["close"] == ["b", "a"]


def test_a_sheet_has_a_dozen():
    rows = [row(f"{number:02}", 0.5 + number / 100, 1) for number in range(20)]
    found = images(rows)
    assert found["right"] == [f"{number:02}" for number in range(19, 7, -1)]
    assert [len(shown) for shown in found.values()] == [SHOWN, 0, SHOWN] == [12, 0, 12]


def test_without_a_threshold_any_whale_is_named_first_and_none_is_close():
    rows = [row("a", 1.0, 1, threshold=np.nan), row("b", 0.0, 0, threshold=np.nan)]
    assert images(rows) == {"right": ["a"], "wrong": [], "close": []}


def answered(threshold, *whales, truth="ann", whale="ann"):
    labels = {f"label{place}": label for place, (label, _) in enumerate(whales, 1)}
    values = {f"probability{place}": value for place, (_, value) in enumerate(whales, 1)}
    return {"Image": "q", "truth": truth, "whale": whale, "threshold": threshold, **labels, **values}


def test_new_whale_stands_at_the_threshold():
    shown = validated(answered(0.3, ("bob", 0.5), ("ann", 0.31), ("cat", 0.3), ("dan", 0.1), ("eve", 0.0)))
    assert shown.candidates == (
        Candidate("bob", 0.5, False),
        Candidate("ann", 0.31, True),
        Candidate("new_whale", 0.3, False),
        Candidate("cat", 0.3, False),  # at the threshold, so not above it
        Candidate("dan", 0.1, False),
    )
    assert shown.rank == 2


def test_five_whales_above_the_threshold_leave_no_place_for_new_whale():
    whales = [("bob", 0.2), ("ann", 0.2), ("cat", 0.2), ("dan", 0.2), ("eve", 0.2)]
    shown = validated(answered(0.1, *whales, truth="new_whale", whale="zoe"))
    assert [candidate.label for candidate in shown.candidates] == ["bob", "ann", "cat", "dan", "eve"]
    assert shown.rank == 0


def test_few_whales_and_no_threshold():
    empty = [("", 0.0)] * 4
    shown = validated(answered(np.nan, ("ann", 1.0), *empty))
    assert shown.candidates == (Candidate("ann", 1.0, True), Candidate("new_whale", None, False))
    assert validated(answered(np.nan, ("", 0.0), *empty)).candidates == (Candidate("new_whale", None, False),)


def test_a_query_to_come_is_shown_as_it_was_ranked():
    whales = [("bob", 0.9), ("new_whale", np.nan), ("ann", 0.1), ("cat", 0.0), ("", 0.0)]
    shown = submitted(answered(0.3, *whales, truth=""))
    assert shown.candidates == (
        Candidate("bob", 0.9, None),
        Candidate("new_whale", None, None),
        Candidate("ann", 0.1, None),
        Candidate("cat", 0.0, None),
    )
    assert shown.rank == 0
    assert submitted(answered(0.3, *whales)).rank == 3
