"""Tables behind the plots on the page of a prediction.

A table maps column names to arrays. A column that depends on the threshold has the shape (rows, T), for the T
thresholds of `ranks_by_threshold`. All other columns have the shape (rows,).

Most functions take `answers`, the rows of `paths.VALIDATION` (one per query) decided at `auto`, and `ranked` (Q, T),
the rank of the true label of each query at each threshold, 0 outside the first five.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE, TOP_K
from whaleid.identification import metrics
from whaleid.identification.map5 import Shares, kinds, query_weights, reciprocal_ranks
from whaleid.identification.ranking import from_table, true_ranks
from whaleid.identification.threshold import THRESHOLDS

Ranks = npt.NDArray[np.int64]
Column = npt.NDArray[np.float64] | npt.NDArray[np.int64]
Table = Mapping[str, Column]
"""Columns by name."""
EXAMPLES = 12
"""Maximum number of queries on each contact sheet of validation."""
SCORE_BINS = 20
"""Number of bins of `scores`."""
PHOTOS = (1, 2, 3, 4, 5, 6, 10, 20)
"""Lower bounds of the bins of `photos`, in gallery photos per whale."""
SHARES: npt.NDArray[np.float64] = np.arange(21) / 20
"""Shares of unknown queries in `unknown_share`."""
RANKS = np.array([*range(1, TOP_K + 1), 0])
"""Ranks of the true label in `ranks`; 0 means outside the first five."""
TIDY_COLUMNS = {
    "threshold": ["threshold", "map5", "map5_known", "map5_unknown"],
    "unknown_share": ["unknown_share", "map5", "all_new_whale"],
    "reliability": ["least", "most", "queries", "probability", "right"],
    "scores": ["least", "most", "known_right", "known_wrong", "unknown"],
    "ranks": ["rank", "queries", "whales_alone"],
    "photos": ["least", "most", "queries", "map5"],
    "history": ["epoch", "lr", "loss", "accuracy", "validation_loss", "validation_accuracy"],
}
"""Columns of each table in `paths.TABLES`, after the column `name`."""


def ranks_by_threshold(answers: pd.DataFrame) -> Ranks:
    """Compute the rank of the true label of each query at each of `THRESHOLDS` and, last, at `auto`.

    `auto` is the threshold of the query's fold, in the column `threshold` of `answers`. If all of them are NaN, the
    prediction has no threshold and T is 1. Returns (Q, T) ranks from 1; 0 is outside the first five.
    """
    auto = answers[["threshold"]].to_numpy(dtype=np.float64)
    grid = np.broadcast_to(THRESHOLDS, (len(auto), len(THRESHOLDS)))
    thresholds = np.zeros_like(auto) if np.isnan(auto).all() else np.hstack([grid, auto])
    return _true_ranks(answers, thresholds)


def plot_tables(answers: pd.DataFrame, shares: Shares, photos_per_whale: "pd.Series[int]") -> dict[str, Table]:
    """Return the table of each plot, by name, except the threshold curve.

    `reliability` and `scores` are omitted if the prediction has no threshold. `photos_per_whale` as in `photos`.
    """
    ranked = ranks_by_threshold(answers)
    plots: dict[str, Table] = {"unknown_share": unknown_share(answers, ranked, shares.duplicate)}
    if answers["threshold"].notna().any():
        plots["reliability"] = reliability(answers, query_weights(kinds(answers["role"]), shares))
        plots["scores"] = scores(answers)
    return plots | {"ranks": ranks(answers, ranked), "photos": photos(answers, ranked, photos_per_whale)}


def tidy(plots: Mapping[str, Mapping[str, Table]], histories: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Concatenate the tables of all predictions, at `auto` and after calibration, and the histories of all variants.

    `plots` has the tables of `plot_tables` and the threshold curve of each prediction, `histories` one row per epoch of
    each variant. Returns a table for each key of `TIDY_COLUMNS`; its column `name` is the prediction or the variant.
    """
    tables = {}
    for key, names in TIDY_COLUMNS.items():
        frames = {name: _at_auto(by_plot[key]) for name, by_plot in plots.items() if key in by_plot}
        named = [frame.assign(name=name) for name, frame in (histories if key == "history" else frames).items()]
        tables[key] = pd.concat([pd.DataFrame(columns=["name"]), *named]).reindex(columns=["name", *names])
    return tables


def from_frame(frame: pd.DataFrame) -> Table:
    """Return a DataFrame as a table that does not depend on the threshold."""
    return {str(name): column.to_numpy() for name, column in frame.items()}


def _at_auto(table: Table) -> pd.DataFrame:
    """Return a table at `auto`; if it has rows before and after calibration, only those after."""
    frame = pd.DataFrame({key: column if column.ndim == 1 else column[:, -1] for key, column in table.items()})
    return frame[frame["calibrated"] == 1] if "calibrated" in frame else frame


def examples(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Select the queries of the contact sheets `right`, `wrong` and `close`, at most `EXAMPLES` for each.

    Only known and unknown queries are selected. On `right` and `wrong`, a whale has rank 1; they are sorted by its
    probability, the highest first. On `close`, the probability of the best whale is closest to the threshold. Ties are
    sorted by Image.
    """
    queries = answers[pd.Series(kinds(answers["role"]), index=answers.index).isin(["known", "unknown"])]
    queries = queries.sort_values("Image")
    # without a threshold, any whale of a probability above 0 ranks before `new_whale`
    confident = queries[queries["probability1"] > queries["threshold"].fillna(0)]
    confident = confident.sort_values("probability1", ascending=False, kind="stable")
    distance = (queries["probability1"] - queries["threshold"]).abs().dropna().sort_values(kind="stable")
    sheets = {
        "right": confident[confident["rank"] == 1],
        "wrong": confident[confident["rank"] != 1],
        "close": queries.loc[distance.index],
    }
    return {name: rows.head(EXAMPLES) for name, rows in sheets.items()}


def unknown_share(answers: pd.DataFrame, ranked: Ranks, duplicate_share: float) -> Table:
    """Compute MAP@5 by the share of unknown queries: `unknown_share,map5,all_new_whale`, in steps of 0.05.

    MAP@5 is a mean, so the weighted mean over the kinds of queries is exact. The share of duplicates is always
    `duplicate_share`. If a kind has no queries, its share goes to the others. `all_new_whale` is MAP@5 of a prediction
    of `new_whale` for every query.
    """
    kind = kinds(answers["role"])
    weights = np.array([query_weights(kind, Shares(share, duplicate_share)) for share in SHARES])  # (21, Q)
    duplicates = weights * (kind == "duplicate")
    unnamed_duplicates = duplicates @ (answers["truth"] == NEW_WHALE).to_numpy()
    all_new_whale = unnamed_duplicates + (1 - duplicates.sum(axis=1)) * SHARES
    return {"unknown_share": SHARES, "map5": weights @ reciprocal_ranks(ranked), "all_new_whale": all_new_whale}


def reliability(answers: pd.DataFrame, weights: npt.NDArray[np.float64]) -> Table:
    """Compute the reliability diagram of the best whale: `calibrated,least,most,queries,probability,right`.

    Bins (`least`, `most`] have equal width; the first includes 0. A bin without queries has no row. `probability` is
    the mean probability in the bin, `right` the accuracy. `calibrated` is 0 before calibration, 1 after it. `weights`
    (Q,) are the weights of the queries; queries of weight 0 are excluded.
    """
    answers, weights = answers[weights > 0], weights[weights > 0]
    rows = []
    for calibrated, name in enumerate(("uncalibrated", "probability1")):
        values = answers[name].to_numpy(dtype=np.float64)
        bins = metrics.bin_indices(values)
        for number in np.unique(bins):
            inside = bins == number
            probability, right = (np.average(x[inside], weights=weights[inside]) for x in (values, _right(answers)))
            least, most = number / metrics.BINS, (number + 1) / metrics.BINS
            rows.append((calibrated, least, most, inside.sum(), probability, right))
    names = ["calibrated", "least", "most", "queries", "probability", "right"]
    return dict(zip(names, np.array(rows).reshape(-1, len(names)).T, strict=True))


def scores(answers: pd.DataFrame) -> Table:
    """Count queries by the probability of the best whale: `least,most,known_right,known_wrong,unknown`.

    Bins [`least`, `most`) have equal width; the last includes 1.
    """
    kind, right, values = kinds(answers["role"]), _right(answers), answers["probability1"].to_numpy(dtype=np.float64)
    edges = np.arange(SCORE_BINS + 1) / SCORE_BINS
    groups = {
        "known_right": (kind == "known") & right,
        "known_wrong": (kind == "known") & ~right,
        "unknown": kind == "unknown",
    }
    counts = {name: np.histogram(values[rows], edges)[0] for name, rows in groups.items()}
    return {"least": edges[:-1], "most": edges[1:], **counts}


def ranks(answers: pd.DataFrame, ranked: Ranks) -> Table:
    """Count known queries by the rank of the true label: `rank,queries,whales_alone`; rank 0 is outside the first five.

    In `queries`, `new_whale` takes its rank at the threshold. In `whales_alone`, only whales are ranked.
    """
    known = kinds(answers["role"]) == "known"
    # at a threshold below every probability, new_whale ranks after all whales
    alone = _true_ranks(answers[known], np.array([[-1.0]]))
    queries, whales_alone = (np.array([(x == rank).sum(axis=0) for rank in RANKS]) for x in (ranked[known], alone))
    return {"rank": RANKS, "queries": queries, "whales_alone": whales_alone[:, 0]}


def photos(answers: pd.DataFrame, ranked: Ranks, photos_per_whale: "pd.Series[int]") -> Table:
    """Compute MAP@5 of known queries by the number of gallery photos of their whale: `least,most,queries,map5`.

    `photos_per_whale` is the number of photos of each whale in the gallery of validation. A bin without queries has no
    row.
    """
    known = kinds(answers["role"]) == "known"
    number = answers.loc[known, "whale"].map(photos_per_whale).fillna(0).to_numpy(dtype=np.int64)
    limits = np.array([0, *PHOTOS, number.max(initial=PHOTOS[-1]) + 1])
    bins = np.digitize(number, PHOTOS)  # 0: whales without a photo in the gallery
    present, queries = np.unique(bins, return_counts=True)
    values = reciprocal_ranks(ranked[known])
    map5 = np.array([values[bins == index].mean(axis=0) for index in present]).reshape(len(present), ranked.shape[1])
    return {"least": limits[present], "most": limits[present + 1] - 1, "queries": queries, "map5": map5}


def figures(answers: pd.DataFrame, shares: Shares) -> dict[str, list[list[float]]]:
    """Compute each figure of `metrics.bootstrap` with its 95 % interval, at each threshold of `ranks_by_threshold`.

    Returns the figures by key: a list of T lists `[value, low, high]`.
    """
    sampled = metrics.bootstrap(answers, ranks_by_threshold(answers), shares)
    return {
        key: [[*metrics.with_intervals({"figure": values}).values()] for values in columns.T]
        for key, columns in sampled.items()
    }


def solution_figures(queries: pd.DataFrame) -> dict[str, list[list[float]]]:
    """Compute MAP@5 by the solution, over all `queries` and over those that are not leaks.

    Returns the figures by key: a list of T lists `[value]`, for the thresholds of `ranks_by_threshold`. A figure
    without queries has no key.
    """
    values = reciprocal_ranks(ranks_by_threshold(queries))
    parts = {"solution_map5": values, "solution_map5_no_duplicates": values[queries["leaked"] == 0]}
    return {key: part.mean(axis=0)[:, None].tolist() for key, part in parts.items() if len(part)}


def _true_ranks(answers: pd.DataFrame, thresholds: npt.NDArray[np.float64]) -> Ranks:
    return true_ranks(*from_table(answers), answers["truth"].to_numpy(dtype=np.str_), thresholds)


def _right(answers: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return whether the best whale of each query is its true label, (Q,)."""
    return (answers["label1"] == answers["truth"]).to_numpy()
