"""Tables behind the page of a prediction. Each takes answers: rows of `paths.VALIDATION` decided at `auto`."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE, PLACES
from whaleid.identification import metrics
from whaleid.identification.map5 import Shares, gains, kinds, query_weights
from whaleid.identification.ranking import LABELS, from_table, true_ranks
from whaleid.identification.threshold import THRESHOLDS

EXAMPLES = 12
"""Queries on each contact sheet of validation."""
SCORE_BINS = 20
PHOTOS = (1, 2, 3, 4, 5, 6, 10, 20)
"""The least number of photos of each class of whales."""
SHARES: npt.NDArray[np.float64] = np.arange(21) / 20
BEYOND, NEW = -1, -2
"""Places of a truth that is beyond the five whales, and of a truth that is `new_whale`."""
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


def plotted(answers: pd.DataFrame, shares: Shares, photos_of_whale: "pd.Series[int]") -> dict[str, pd.DataFrame]:
    """Return the table of each plot; those of probabilities only if there is a threshold."""
    plots = {"unknown_share": unknown_share(answers, shares.duplicate)}
    if answers["threshold"].notna().any():
        plots["reliability"] = reliability(answers, query_weights(kinds(answers["role"]), shares))
        plots["scores"] = scores(answers)
    return plots | {"ranks": ranks(answers), "photos": photos(answers, photos_of_whale)}


def tidy(name: str, frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the table `name` of `TIDY`: `frames`, by prediction, below each other, only after calibration."""
    rows = [
        (frame[frame["calibrated"] == 1] if "calibrated" in frame else frame).assign(name=prediction)
        for prediction, frame in frames.items()
    ]
    return pd.concat([pd.DataFrame(columns=["name"]), *rows]).reindex(columns=["name", *TIDY[name]])


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


def places(answers: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return (Q,) the place of the truth among the five whales, from 0; else `BEYOND` or `NEW`."""
    truth = answers["truth"].to_numpy(dtype=np.str_)
    same = answers[LABELS].to_numpy(dtype=np.str_) == truth[:, None]
    whales = np.where(same.any(axis=1) & (truth != ""), same.argmax(axis=1), BEYOND)
    return np.where(truth == NEW_WHALE, NEW, whales)


def unknown_share(answers: pd.DataFrame, duplicate_share: float) -> pd.DataFrame:
    """Return MAP@5 by the share of unknown queries: `unknown_share,map5,all_new_whale`, in steps of 0.05.

    MAP@5 is a mean, so mixing the means of the kinds is exact. `duplicate_share` of the queries are duplicates
    throughout; a kind without queries leaves its share to the others. `all_new_whale` is MAP@5 of `new_whale` for all.
    """
    kind = kinds(answers["role"])
    weights = np.array([query_weights(kind, Shares(share, duplicate_share)) for share in SHARES])  # (21, Q)
    duplicates = weights * (kind == "duplicate")
    new = duplicates @ (answers["truth"] == NEW_WHALE).to_numpy() + (1 - duplicates.sum(axis=1)) * SHARES
    return pd.DataFrame({"unknown_share": SHARES, "map5": weights @ _gains(answers), "all_new_whale": new})


def reliability(answers: pd.DataFrame, weights: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return how often the best whale is right by its probability: `calibrated,least,most,queries,probability,right`.

    `weights` (Q,) is how much each query counts; those of 0 are left out. Bins (`least`, `most`] are equally wide,
    the first with 0; a bin without queries has no row. `probability` is the mean of the bin, `right` the share that is
    right. Rows of `calibrated` 0 are before calibration.
    """
    answers, weights = answers[weights > 0], weights[weights > 0]
    right = _right(answers)
    rows = []
    for calibrated, column in enumerate(("uncalibrated", "probability1")):
        values = answers[column].to_numpy(dtype=np.float64)
        bins = metrics.bins(values)
        for number in np.unique(bins):
            held = bins == number
            probability, share = (float(np.average(x[held], weights=weights[held])) for x in (values, right))
            rows.append(
                (calibrated, number / metrics.BINS, (number + 1) / metrics.BINS, int(held.sum()), probability, share)
            )
    return pd.DataFrame(rows, columns=["calibrated", "least", "most", "queries", "probability", "right"])


def scores(answers: pd.DataFrame) -> pd.DataFrame:
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
    counts = {name: np.histogram(values[held], edges)[0] for name, held in groups.items()}
    return pd.DataFrame({"least": edges[:-1], "most": edges[1:], **counts})


def ranks(answers: pd.DataFrame) -> pd.DataFrame:
    """Count queries of known whales by the rank of the truth: `rank,queries,whales_alone`; rank 0 is beyond five.

    `queries` has `new_whale` ranked at the threshold, `whales_alone` leaves it out.
    """
    known = answers[kinds(answers["role"]) == "known"]
    order = [*range(1, PLACES + 1), 0]
    counts = [
        np.bincount(rank.astype(int), minlength=PLACES + 1)[order]
        for rank in (known["rank"].to_numpy(), places(known) + 1)
    ]
    return pd.DataFrame({"rank": order, "queries": counts[0], "whales_alone": counts[1]})


def photos(answers: pd.DataFrame, photos_of_whale: "pd.Series[int]") -> pd.DataFrame:
    """Return MAP@5 of the queries of known whales by their whale's photos: `least,most,queries,map5`.

    `photos_of_whale` is the number of photos that validation is compared with, by whale. Classes without queries have
    no row.
    """
    known = answers[kinds(answers["role"]) == "known"]
    number, gained = _photos_compared(known, photos_of_whale), _gains(known)
    classes = np.searchsorted(PHOTOS, number, side="right")  # 0: whales without a photo to compare with
    rows = []
    for place in np.unique(classes):
        held = classes == place
        least = PHOTOS[place - 1] if place else 0
        most = PHOTOS[place] - 1 if place < len(PHOTOS) else int(number.max())
        rows.append((least, most, int(held.sum()), float(gained[held].mean())))
    return pd.DataFrame(rows, columns=["least", "most", "queries", "map5"])


def photo_classes(answers: pd.DataFrame, photos_of_whale: "pd.Series[int]") -> list[int]:
    """Return, for each query, the row of `photos` that counts it; -1 where its whale is not known."""
    least = photos(answers, photos_of_whale)["least"].to_numpy()
    rows = np.searchsorted(least, _photos_compared(answers, photos_of_whale), side="right") - 1
    return [int(row) for row in np.where(kinds(answers["role"]) == "known", rows, -1)]


def intervals_by_threshold(answers: pd.DataFrame, shares: Shares) -> dict[str, list[Sequence[float]]]:
    """Return the 95 % interval of each figure of `metrics.bootstrap`, at each of `THRESHOLDS` and, last, at `auto`.

    Without a threshold there is one interval.
    """
    auto = answers["threshold"].to_numpy(dtype=np.float64)[:, None]
    grid = np.broadcast_to(THRESHOLDS, (len(auto), len(THRESHOLDS)))
    thresholds = np.zeros_like(auto) if np.isnan(auto).all() else np.hstack([grid, auto])
    ranks = true_ranks(*from_table(answers), answers["truth"].to_numpy(dtype=np.str_), thresholds)
    figures = metrics.bootstrap(answers, ranks, shares)
    return {key: [_interval(values) for values in columns.T] for key, columns in figures.items()}


def _interval(values: npt.NDArray[np.float64]) -> Sequence[float]:
    figures = metrics.with_intervals({"figure": values})
    return [float(f"{figures[key]:.6g}") for key in ("figure_low", "figure_high")]  # as in the figures' JSON files


def _gains(answers: pd.DataFrame) -> npt.NDArray[np.float64]:
    return gains(answers["rank"].to_numpy())


def _right(answers: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return (Q,) whether the best whale is the true one."""
    return (answers["label1"] == answers["truth"]).to_numpy()


def _photos_compared(answers: pd.DataFrame, photos_of_whale: "pd.Series[int]") -> npt.NDArray[np.int64]:
    return answers["whale"].map(photos_of_whale).fillna(0).to_numpy().astype(np.int64)
