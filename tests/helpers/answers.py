"""Hand-made predictions of validation photos and of queries, and the page that displays them."""

import numpy as np
import pandas as pd

from whaleid.identification import figures as fixed
from whaleid.identification import threshold
from whaleid.identification.map5 import Shares, kinds
from whaleid.identification.ranking import LABELS, PROBABILITIES, at_threshold
from whaleid.report import prediction, sheets, tables

HOSTILE = '</style></script><script>alert(1)</script><img src=x onerror="alert(1)">\'&.jpg'
SHARES = Shares(0.4, 0.2)
ANSWERS = [
    # Image, whale, role, truth, threshold of the fold, labels, probabilities
    ("k1", "ann", "known", "ann", 0.3, ["ann", "bob", "cat", "dan", "eve"], [0.9, 0.05, 0.02, 0.01, 0.0]),
    ("k2", "ann", "known", "ann", 0.35, ["bob", "ann", "cat", "dan", "eve"], [0.5, 0.4, 0.1, 0.0, 0.0]),
    ("k3", "bob", "known", "bob", 0.3, ["cat", "dan", "bob", "ann", "eve"], [0.4, 0.3, 0.2, 0.1, 0.0]),
    ("k4", "cat", "known", "cat", 0.3, ["ann", "bob", "dan", "eve", "fay"], [0.25, 0.2, 0.2, 0.2, 0.1]),
    ("k5", "eve", "known", "eve", 0.35, ["ann", "bob", "cat", "dan", "eve"], [0.6, 0.1, 0.1, 0.1, 0.1]),
    ("u1", "gil", "unknown", "new_whale", 0.3, ["ann", "bob", "cat", "dan", "eve"], [0.32, 0.1, 0.0, 0.0, 0.0]),
    ("u2", "gil", "unknown", "new_whale", 0.35, ["bob", "ann", "cat", "dan", "eve"], [0.32, 0.31, 0.1, 0.0, 0.0]),
    ("u3", "hal", "unknown", "new_whale", 0.3, ["bob", "ann", "cat", "dan", "eve"], [0.2, 0.2, 0.2, 0.2, 0.2]),
    ("n1", "new_whale", "new_whale", "new_whale", 0.3, ["bob", "ann", "", "", ""], [0.95, 0.02, 0.0, 0.0, 0.0]),
    ("n2", "new_whale", "new_whale", "new_whale", 0.3, ["bob", "ann", "", "", ""], [0.1, 0.02, 0.0, 0.0, 0.0]),
    ("t1", "new_whale", "new_whale_train", "new_whale", 0.3, ["bob", "ann", "", "", ""], [0.6, 0.5, 0.0, 0.0, 0.0]),
    ("d1", "ann", "duplicate", "ann", 0.35, ["ann", "bob", "cat", "dan", "eve"], [0.99, 0.0, 0.0, 0.0, 0.0]),
    ("d2", "bob", "duplicate", "bob", 0.3, ["ann", "bob", "cat", "dan", "eve"], [0.5, 0.31, 0.0, 0.0, 0.0]),
]
QUERIES = [
    # Image, leaked, truth, labels, probabilities
    ("q1", 1, "ann", ["ann", "bob", "cat", "dan", "eve"], [0.95, 0.01, 0.0, 0.0, 0.0]),
    ("q2", 0, "new_whale", ["ann", "bob", "cat", "dan", "eve"], [0.31, 0.01, 0.0, 0.0, 0.0]),
    ("q3", 1, "", ["bob", "ann", "cat", "dan", "eve"], [0.95, 0.01, 0.0, 0.0, 0.0]),
    ("q4", 1, "bob", ["ann", "bob", "cat", "dan", "eve"], [0.4, 0.35, 0.0, 0.0, 0.0]),
]
AUTO = 0.305


def frame(rows, columns):
    """Return hand-made rows as a table; the last two values of a row are its labels and probabilities."""
    table = pd.DataFrame([row[:-2] for row in rows], columns=columns)
    table[LABELS] = np.array([row[-2] for row in rows], dtype=object).reshape(-1, 5)
    table[PROBABILITIES] = np.array([row[-1] for row in rows], dtype=float).reshape(-1, 5)
    return table


def answer_table(rows=ANSWERS):
    table = frame(rows, ["Image", "whale", "role", "truth", "threshold"])
    return table.assign(uncalibrated=table["probability1"] ** 0.5, cluster=np.arange(len(table)) // 2)


def content(rows=ANSWERS, queries=QUERIES, auto=AUTO, own_sheets=None, **changes):
    """Return the content of a page of hand-made predictions; `rows` is None for a prediction without validation."""
    figures = {"unknown_share": SHARES[0], "duplicate_share": SHARES[1]}
    if auto is not None:
        figures |= {"threshold_auto": auto}
    answers, plots = None, {}
    if rows is not None:
        raw = answer_table(rows) if auto is not None else answer_table(rows).drop(columns="threshold")
        answers = at_threshold(raw)
        figures |= fixed.threshold_free(raw, raw, auto, SHARES)
        plots = tables.plot_tables(answers, SHARES, pd.Series({"ann": 4, "bob": 1, "eve": 12}))
        if auto is not None:
            counted = answers[answers["role"].isin(["known", "unknown"])]
            curve = threshold.threshold_curve(
                counted[LABELS].to_numpy(dtype=str),
                counted[PROBABILITIES].to_numpy(),
                counted["truth"].to_numpy(dtype=str),
                kinds(counted["role"]),
                SHARES,
            )
            plots = {"threshold": tables.from_frame(curve), **plots}
        if own_sheets is None:
            own_sheets = [sheet("Sheet", answers[answers["role"].isin(["known", "unknown"])])]
    query_table = frame(queries, ["Image", "leaked", "truth"]).assign(threshold=auto)
    leaks = query_table[query_table["leaked"] == 1]
    leaks = leaks.assign(whale=leaks["truth"])
    page_sheets = [*(own_sheets or []), sheet("Leaks", leaks, folded=True)]
    values = {"name": "margin", "calibrated_by": None, "figures": figures, "queries": query_table, "answers": answers}
    return prediction.Content(**(values | {"tables": plots, "sheets": page_sheets} | changes))


def sheet(title, rows, folded=False):
    """Return a sheet with one photo per whale, named after the whale; fay has no photo."""
    photos = [
        ["" if label in ("", "fay") else label for label in labels] for labels in rows[LABELS].to_numpy().tolist()
    ]
    return prediction.sheet(title, "caption", rows, photos, folded)


def render(page):
    """Return the HTML of a page; the names of its photos stand for their bytes."""
    return prediction.render(page, {image: image.encode() for image in sheets.photos(page.sheets)})
