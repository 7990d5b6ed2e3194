"""MAP@5, the mean reciprocal rank of the true label among five, with each kind of query weighted by its expected share.

The kinds of queries are `known` (their whale is in the catalogue), `unknown`, and `duplicate` (of a labelled photo).
`counts` (B, Q) are how often each query counts: a row of ones for the metric itself, one row per bootstrap resample.
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
"""The kinds of queries that count in MAP@5."""


class Shares(NamedTuple):
    """The expected mix of future queries."""

    unknown: float
    """The share of unknown whales among the queries that are not duplicates."""
    duplicate: float
    """The share of duplicates of labelled photos among all queries."""


def mean_average_precision(ranked: Sequence[Sequence[str]], truth: Sequence[str]) -> float:
    """Compute MAP@5 as Kaggle does: the mean of 1 / rank of the true label among the first five distinct labels."""
    distinct = [list(dict.fromkeys(labels))[:TOP_K] for labels in ranked]
    ranks = [labels.index(true) + 1 if true in labels else 0 for labels, true in zip(distinct, truth, strict=True)]
    return float(reciprocal_ranks(np.array(ranks)).mean())


def reciprocal_ranks(ranks: npt.NDArray[np.int64]) -> Floats:
    """Compute 1 / rank for ranks from 1 to 5; 0 for rank 0, which means that the true label is not among five."""
    return np.divide(1.0, ranks, out=np.zeros(ranks.shape), where=ranks > 0)


def kinds(roles: pd.Series[str]) -> Labels:
    """Return the kind of each query (Q,), one of `KINDS`; an empty string for a query that does not count.

    `roles` (Q,) are as in `validation.queries`. Photos labelled `new_whale` are measured separately, because they may
    show a known whale that nobody recognised. They count as unknown only if validation holds out no whale.
    """
    unknown = "unknown" if (roles == "unknown").any() else "new_whale"
    kind = {"known": "known", unknown: "unknown", "duplicate": "duplicate"}
    return np.array([kind.get(role, "") for role in roles], dtype=np.str_)


def query_weights(kind: Labels, shares: Shares, counts: Floats | None = None) -> Floats:
    """Compute the weight of each query: (Q,), or (B, Q) for `counts` (B, Q). Weights sum to 1.

    Each kind weighs its share, which is divided equally among its queries. The share of a kind without queries goes to
    the other kinds. `kind` (Q,) is as in `kinds`.
    """
    counts = np.ones(len(kind)) if counts is None else counts
    one_hot = (kind[:, None] == np.array(KINDS)).astype(np.float64)  # (Q, 3)
    totals = counts @ one_hot  # (3,) or (B, 3)
    known, unknown, duplicate = np.moveaxis(totals > 0, -1, 0)
    unknown_share = np.where(known & unknown, shares.unknown, unknown)
    duplicate_share = np.where((known | unknown) & duplicate, shares.duplicate, duplicate)
    other_share = 1 - duplicate_share
    share = np.stack([other_share * (1 - unknown_share), other_share * unknown_share, duplicate_share], axis=-1)
    weight_by_kind = np.divide(share, totals, out=np.zeros(share.shape), where=totals > 0)
    weights: Floats = counts * (weight_by_kind @ one_hot.T)
    return weights


def average(values: npt.NDArray[np.float64 | np.bool_], weights: Floats) -> Floats:
    """Compute the weighted mean over queries; NaN where all weights are 0.

    `values` are (Q,) or (Q, T), `weights` (Q,) or (B, Q). Returns (), (B,), (T,) or (B, T).
    """
    total = weights.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        mean: Floats = weights @ values / (total[..., None] if values.ndim == 2 else total)
    return mean


def map5(ranks: npt.NDArray[np.int64], kind: Labels, shares: Shares, counts: Floats | None = None) -> dict[str, Floats]:
    """Compute MAP@5: `map5`, `map5_known`, `map5_unknown`, `map5_duplicates` and `map5_no_duplicates`.

    Each kind weighs its share in `map5` and `map5_no_duplicates`. There is no key for a kind without queries. `ranks`
    are the ranks of the true label, 0 if it is not among five: (Q,), or (Q, T) at T thresholds. `kind` (Q,) is as in
    `kinds`. The means have the shapes of `average`.
    """
    counts = np.ones(len(kind)) if counts is None else counts
    subsets = {
        "map5": kind != "",
        "map5_known": kind == "known",
        "map5_unknown": kind == "unknown",
        "map5_duplicates": kind == "duplicate",
        "map5_no_duplicates": np.isin(kind, ["known", "unknown"]),
    }
    values = reciprocal_ranks(ranks)
    return {
        name: average(values, query_weights(kind, shares, counts * rows))
        for name, rows in subsets.items()
        if rows.any()
    }
