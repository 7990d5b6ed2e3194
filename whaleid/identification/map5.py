"""MAP@5: the mean of 1 / rank of the true label among five, each query weighted as it is expected among those to come.

Queries are `known` (their whale is in the catalogue), `unknown` or a `duplicate` of a labelled photo. `counts` (B, Q)
say how often each query counts: a row of ones for a metric itself, a row for each resampling of its interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import TOP_K
from whaleid.identification.ranking import Floats, Labels

KINDS = ("known", "unknown", "duplicate")


class Shares(NamedTuple):
    """The expected mix of the queries to come."""

    unknown: float
    """Of the queries that are no duplicates, the share of unknown whales."""
    duplicate: float
    """Of all queries, the share that duplicates a labelled photo."""


def mean_average_precision(ranked: Sequence[Sequence[str]], truth: Sequence[str]) -> float:
    """Return MAP@5 as Kaggle counts it: 1 / rank of the true label among the first five distinct ones, 0 beyond."""
    distinct = [list(dict.fromkeys(labels))[:TOP_K] for labels in ranked]
    ranks = [labels.index(true) + 1 if true in labels else 0 for labels, true in zip(distinct, truth, strict=True)]
    return float(reciprocal_ranks(np.array(ranks)).mean())


def reciprocal_ranks(ranks: npt.NDArray[np.int64]) -> Floats:
    """Return 1 / rank of the true label, from 1; 0 for rank 0, which is beyond five."""
    return np.divide(1.0, ranks, out=np.zeros(ranks.shape), where=ranks > 0)


def kinds(roles: pd.Series[str]) -> Labels:
    """Return (Q,) the kind of each query, one of `KINDS`; an empty string for a query that does not count.

    `roles` (Q,) are those of `validation.queries`. A photo labelled `new_whale` may be of a known whale that nobody
    recognised, so it is measured separately. Only where validation holds out no whale, these photos stand in for
    unknown whales.
    """
    unknown = "unknown" if (roles == "unknown").any() else "new_whale"
    kind = {"known": "known", unknown: "unknown", "duplicate": "duplicate"}
    return np.array([kind.get(role, "") for role in roles], dtype=np.str_)


def query_weights(kind: Labels, shares: Shares, counts: Floats | None = None) -> Floats:
    """Return (Q,) or, for `counts` (B, Q), (B, Q) the weight of each query, 1 in sum: each kind weighs its share.

    `kind` is (Q,). Queries of one kind weigh the same. A kind without queries leaves its share to the others.
    """
    counts = np.ones(len(kind)) if counts is None else counts
    one_hot = (kind[:, None] == np.array(KINDS)).astype(np.float64)  # (Q, 3)
    totals = counts @ one_hot  # (3,) or (B, 3)
    known, unknown, duplicate = np.moveaxis(totals > 0, -1, 0)
    of_unknown = np.where(known & unknown, shares.unknown, unknown)
    of_duplicates = np.where((known | unknown) & duplicate, shares.duplicate, duplicate)
    rest = 1 - of_duplicates
    share = np.stack([rest * (1 - of_unknown), rest * of_unknown, of_duplicates], axis=-1)
    each = np.divide(share, totals, out=np.zeros(share.shape), where=totals > 0)
    weights: Floats = counts * (each @ one_hot.T)
    return weights


def average(values: npt.NDArray[np.float64 | np.bool_], weights: Floats) -> Floats:
    """Return the mean of `values` (Q,) or (Q, T) by `weights` (Q,) or (B, Q): (), (B,), (T,) or (B, T).

    It is NaN where all weights are 0.
    """
    total = weights.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        mean: Floats = weights @ values / (total[..., None] if values.ndim == 2 else total)
    return mean


def map5(ranks: npt.NDArray[np.int64], kind: Labels, shares: Shares, counts: Floats | None = None) -> dict[str, Floats]:
    """Return MAP@5: `map5`, `map5_known`, `map5_unknown`, `map5_duplicates` and `map5_no_duplicates`.

    `ranks` (Q,) are those of the truth, 0 beyond five, or (Q, T) at T thresholds; `kind` is (Q,). Each mean is that of
    `average`. In `map5` and `map5_no_duplicates`, each kind weighs its share. A kind without queries has no key.
    """
    counts = np.ones(len(kind)) if counts is None else counts
    counted = {
        "map5": kind != "",
        "map5_known": kind == "known",
        "map5_unknown": kind == "unknown",
        "map5_duplicates": kind == "duplicate",
        "map5_no_duplicates": np.isin(kind, ["known", "unknown"]),
    }
    gained = reciprocal_ranks(ranks)
    counted = {name: rows for name, rows in counted.items() if rows.any()}
    return {name: average(gained, query_weights(kind, shares, counts * rows)) for name, rows in counted.items()}
