"""Tables behind the page of a prediction.

A table has columns by name. A column that moves with the threshold is (rows, T), a column for each of
`ranks_by_threshold`; any other is (rows,). `answers` are rows of `paths.VALIDATION` decided at `auto`, `ranks` (Q, T)
those of their truths.
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
EXAMPLES = 12
"""Queries on each contact sheet of validation."""
SCORE_BINS = 20
PHOTOS = (1, 2, 3, 4, 5, 6, 10, 20)
"""The least number of photos of each class of whales."""
SHARES: npt.NDArray[np.float64] = np.arange(21) / 20
RANKS = np.array([*range(1, TOP_K + 1), 0])
TIDY = {
    "threshold": ["threshold", "map5", "map5_known", "map5_unknown"],
    "unknown_share": ["unknown_share", "map5", "all_new_whale"],
    "reliability": ["least", "most", "queries", "probability", "right"],
    "scores": ["least", "most", "known_right", "known_wrong", "unknown"],
    "ranks": ["rank", "queries", "whales_alone"],
    "photos": ["least", "most", "queries", "map5"],
    "history": ["epoch", "lr", "loss", "accuracy", "validation_loss", "validation_accuracy"],
}
"""The tables of `paths.TABLES`: their columns after `name`."""


def ranks_by_threshold(answers: pd.DataFrame) -> Ranks:
    """Return (Q, T) the rank of each truth at each of `THRESHOLDS` and, last, at the query's own: `auto`.

    Without thresholds T is 1.
    """
    auto = answers[["threshold"]].to_numpy(dtype=np.float64)
    grid = np.broadcast_to(THRESHOLDS, (len(auto), len(THRESHOLDS)))
    thresholds = np.zeros_like(auto) if np.isnan(auto).all() else np.hstack([grid, auto])
    return _true_ranks(answers, thresholds)


def plotted(answers: pd.DataFrame, shares: Shares, photos_of_whale: "pd.Series[int]") -> dict[str, Table]:
    """Return the table of each plot but the threshold curve; those of probabilities only if there is a threshold."""
    ranked = ranks_by_threshold(answers)
    plots: dict[str, Table] = {"unknown_share": unknown_share(answers, ranked, shares.duplicate)}
    if answers["threshold"].notna().any():
        plots["reliability"] = reliability(answers, query_weights(kinds(answers["role"]), shares))
        plots["scores"] = scores(answers)
    return plots | {"ranks": ranks(answers, ranked), "photos": photos(answers, ranked, photos_of_whale)}


def tidy(plots: Mapping[str, Mapping[str, Table]], histories: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables of `TIDY`, with the rows of all predictions, or variants: at `auto` and after calibration."""
    tables = {}
    for key, names in TIDY.items():
        frames = {name: _at_auto(each[key]) for name, each in plots.items() if key in each}
        named = [frame.assign(name=name) for name, frame in (histories if key == "history" else frames).items()]
        tables[key] = pd.concat([pd.DataFrame(columns=["name"]), *named]).reindex(columns=["name", *names])
    return tables


def columns(frame: pd.DataFrame) -> Table:
    """Return a table that does not move."""
    return {str(name): column.to_numpy() for name, column in frame.items()}


def _at_auto(table: Table) -> pd.DataFrame:
    frame = pd.DataFrame({key: column if column.ndim == 1 else column[:, -1] for key, column in table.items()})
    return frame[frame["calibrated"] == 1] if "calibrated" in frame else frame


def examples(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the `right`, `wrong` and `close` answers for the contact sheets, at most `EXAMPLES` of each.

    Only queries of known and of unknown whales count. `right` and `wrong` have a whale at rank 1, the most probable
    first; of `close`, the best whale is nearest to the threshold. Ties are ordered by Image.
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
    """Return MAP@5 by the share of unknown queries: `unknown_share,map5,all_new_whale`, in steps of 0.05.

    MAP@5 is a mean, so mixing the means of the kinds is exact. `duplicate_share` of the queries are duplicates
    throughout; a kind without queries leaves its share to the others. `all_new_whale` is MAP@5 of `new_whale` for all.
    """
    kind = kinds(answers["role"])
    weights = np.array([query_weights(kind, Shares(share, duplicate_share)) for share in SHARES])  # (21, Q)
    duplicates = weights * (kind == "duplicate")
    new = duplicates @ (answers["truth"] == NEW_WHALE).to_numpy() + (1 - duplicates.sum(axis=1)) * SHARES
    return {"unknown_share": SHARES, "map5": weights @ reciprocal_ranks(ranked), "all_new_whale": new}


def reliability(answers: pd.DataFrame, weights: npt.NDArray[np.float64]) -> Table:
    """Return how often the best whale is right by its probability: `calibrated,least,most,queries,probability,right`.

    `weights` (Q,) is how much each query counts; those of 0 are left out. Bins (`least`, `most`] are equally wide,
    the first with 0; a bin without queries has no row. `probability` is the mean of the bin, `right` the share that is
    right. Rows of `calibrated` 0 are before calibration.
    """
    answers, weights = answers[weights > 0], weights[weights > 0]
    rows = []
    for calibrated, name in enumerate(("uncalibrated", "probability1")):
        values = answers[name].to_numpy(dtype=np.float64)
        bins = metrics.bin_indices(values)
        for number in np.unique(bins):
            inside = bins == number
            probability, right = (
                np.average(each[inside], weights=weights[inside]) for each in (values, _right(answers))
            )
            least, most = number / metrics.BINS, (number + 1) / metrics.BINS
            rows.append((calibrated, least, most, inside.sum(), probability, right))
    names = ["calibrated", "least", "most", "queries", "probability", "right"]
    return dict(zip(names, np.array(rows).reshape(-1, len(names)).T, strict=True))


def scores(answers: pd.DataFrame) -> Table:
    """Count queries by the best whale's probability: `least,most,known_right,known_wrong,unknown`.

    Bins [`least`, `most`) are equally wide, the last with 1.
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
    """Count queries of known whales by the rank of the truth: `rank,queries,whales_alone`; rank 0 is beyond five.

    `queries` has `new_whale` ranked at the threshold, `whales_alone` leaves it out.
    """
    known = kinds(answers["role"]) == "known"
    # below every probability, new_whale comes after all whales
    alone = _true_ranks(answers[known], np.array([[-1.0]]))
    queries, whales_alone = (
        np.array([(each == rank).sum(axis=0) for rank in RANKS]) for each in (ranked[known], alone)
    )
    return {"rank": RANKS, "queries": queries, "whales_alone": whales_alone[:, 0]}


def photos(answers: pd.DataFrame, ranked: Ranks, photos_of_whale: "pd.Series[int]") -> Table:
    """Return MAP@5 of the queries of known whales by their whale's photos: `least,most,queries,map5`.

    `photos_of_whale` is the number of photos that validation is compared with, by whale. Classes without queries have
    no row.
    """
    known = kinds(answers["role"]) == "known"
    number = answers.loc[known, "whale"].map(photos_of_whale).fillna(0).to_numpy(dtype=np.int64)
    limits = np.array([0, *PHOTOS, number.max(initial=PHOTOS[-1]) + 1])
    classes = np.digitize(number, PHOTOS)  # 0: whales without a photo to compare with
    present, queries = np.unique(classes, return_counts=True)
    gained = reciprocal_ranks(ranked[known])
    map5 = np.array([gained[classes == each].mean(axis=0) for each in present]).reshape(len(present), ranked.shape[1])
    return {"least": limits[present], "most": limits[present + 1] - 1, "queries": queries, "map5": map5}


def figures(answers: pd.DataFrame, shares: Shares) -> dict[str, list[list[float]]]:
    """Return each figure of `metrics.bootstrap` and the ends of its interval, for each of `ranks_by_threshold`."""
    sampled = metrics.bootstrap(answers, ranks_by_threshold(answers), shares)
    return {
        key: [[*metrics.with_intervals({"figure": values}).values()] for values in columns.T]
        for key, columns in sampled.items()
    }


def solution_figures(queries: pd.DataFrame) -> dict[str, list[list[float]]]:
    """Return MAP@5 of `queries` and of those that are no leaks, for each of `ranks_by_threshold`."""
    gained = reciprocal_ranks(ranks_by_threshold(queries))
    parts = {"solution_map5": gained, "solution_map5_no_duplicates": gained[queries["leaked"] == 0]}
    return {key: part.mean(axis=0)[:, None].tolist() for key, part in parts.items() if len(part)}


def _true_ranks(answers: pd.DataFrame, thresholds: npt.NDArray[np.float64]) -> Ranks:
    return true_ranks(*from_table(answers), answers["truth"].to_numpy(dtype=np.str_), thresholds)


def _right(answers: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return (Q,) whether the best whale is the true one."""
    return (answers["label1"] == answers["truth"]).to_numpy()
