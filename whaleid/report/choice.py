"""Which validation queries a person looks at first."""

import pandas as pd

from whaleid.identification.validation import kinds

ROWS = 12
"""Queries on each contact sheet of validation."""


def chosen(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of `answers` to look at first: `right`, `wrong` and `close`, at most `ROWS` of each.

    `answers` are decided at `auto`. Of queries of known whales and of certain unknowns: the most probable whales that
    rank first, rightly and wrongly, and the best whales that are nearest to the threshold. Equals are ordered by Image.
    """
    queries = answers[pd.Series(kinds(answers["role"]), index=answers.index).isin(["known", "unknown"])]
    queries = queries.sort_values("Image").assign(away=(queries["probability1"] - queries["threshold"]).abs())
    # without a threshold, any whale of a probability above 0 comes before `new_whale`
    named = queries[queries["probability1"] > queries["threshold"].fillna(0)]
    named = named.sort_values("probability1", ascending=False, kind="stable")
    sheets = {
        "right": named[named["rank"] == 1],
        "wrong": named[named["rank"] != 1],
        "close": queries.dropna(subset="away").sort_values("away", kind="stable"),
    }
    return {name: rows.drop(columns="away").head(ROWS) for name, rows in sheets.items()}
