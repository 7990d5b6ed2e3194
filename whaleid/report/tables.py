"""The tables behind a prediction's page: answers to validation in, a DataFrame out."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whaleid.core.labels import NEW_WHALE, PLACES
from whaleid.identification import intervals, measures
from whaleid.identification.answers import LABELS, PROBABILITIES
from whaleid.identification.measuring import Shares
from whaleid.identification.threshold import THRESHOLDS
from whaleid.identification.validation import kinds

BINS = 10
"""Of a reliability diagram, equally wide."""
SCORE_BINS = 20
PHOTOS = (1, 2, 3, 4, 5, 6, 10, 20)
"""The least number of photos of each class of whales."""
SHARES: npt.NDArray[np.float64] = np.arange(21) / 20
BEYOND, NEW = -1, -2
"""Places of a truth that is beyond the five whales, and of a truth that is `new_whale`."""
Ends = Sequence[float]
"""An interval: its low and its high end."""


def gains(answers: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return (Q,) what each query adds to MAP@5: 1 / `rank`, 0 where `rank` is 0."""
    return _gains(answers["rank"].to_numpy())


def right(answers: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return (Q,) whether the best whale is the true one."""
    return (answers["label1"] == answers["truth"]).to_numpy()


def places(answers: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return (Q,) the place of the truth among the five whales, from 0; else `BEYOND` or `NEW`."""
    truth = answers["truth"].to_numpy(dtype=np.str_)
    same = answers[LABELS].to_numpy(dtype=np.str_) == truth[:, None]
    whales = np.where(same.any(axis=1) & (truth != ""), same.argmax(axis=1), BEYOND)
    return np.where(truth == NEW_WHALE, NEW, whales)


def ranks_at(answers: pd.DataFrame, thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return (Q, M) the rank of the truth of each query, 0 beyond five, at `thresholds` (Q, M) or (1, M)."""
    place = places(answers)[:, None]
    above = (answers[PROBABILITIES].to_numpy()[:, :, None] > thresholds[:, None, :]).sum(axis=1)
    of_whale = np.where(place == BEYOND, 0, place + 1 + (place >= above))
    rank = np.where(place == NEW, above + 1, of_whale)
    return np.where(rank > PLACES, 0, rank)


def unknown_share(answers: pd.DataFrame, duplicate_share: float) -> pd.DataFrame:
    """Return MAP@5 by the share of queries of no known whale: `unknown_share,map5,all_new_whale`, in steps of 0.05.

    MAP@5 is a mean, so mixing the means of the kinds is exact. Duplicates are a share of `duplicate_share` throughout;
    a kind without queries leaves its share to the others. `all_new_whale` answers `new_whale` to everything.
    """
    kind, gained = kinds(answers["role"]), gains(answers)
    of = {name: float(gained[kind == name].mean()) for name in ("known", "unknown", "duplicate") if name in kind}
    duplicates = duplicate_share if "duplicate" in of else 0.0
    named_new = (answers["truth"] == NEW_WHALE).to_numpy()[kind == "duplicate"]
    fresh = (1 - SHARES) * of.get("known", of.get("unknown", 0.0)) + SHARES * of.get("unknown", of.get("known", 0.0))
    return pd.DataFrame(
        {
            "unknown_share": SHARES,
            "map5": (1 - duplicates) * fresh + duplicates * of.get("duplicate", 0.0),
            "all_new_whale": (1 - duplicates) * SHARES + duplicates * (named_new.mean() if len(named_new) else 0.0),
        }
    )


def reliability(answers: pd.DataFrame, importance: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return how often the best whale is right by its probability: `calibrated,least,most,queries,probability,right`.

    `importance` (Q,) is how much each query counts; those of 0 are left out. Bins (`least`, `most`] are equally wide,
    the first with 0; a bin without queries has no row. `probability` is the mean of the bin, `right` the share that is
    right. Rows of `calibrated` 0 are as before calibration.
    """
    counted = importance > 0
    true, weights = right(answers)[counted], importance[counted]
    rows = []
    for calibrated, column in enumerate(("uncalibrated", "probability1")):
        values = answers[column].to_numpy(dtype=np.float64)[counted]
        bins = np.clip(np.ceil(values * BINS).astype(int) - 1, 0, BINS - 1)
        for number in np.unique(bins):
            of = bins == number
            probability, share = (float(np.average(x[of], weights=weights[of])) for x in (values, true))
            rows.append((calibrated, number / BINS, (number + 1) / BINS, int(of.sum()), probability, share))
    return pd.DataFrame(rows, columns=["calibrated", "least", "most", "queries", "probability", "right"])


def scores(answers: pd.DataFrame) -> pd.DataFrame:
    """Count queries by the best whale's probability: `least,most,known_right,known_wrong,unknown`.

    Bins [`least`, `most`) are equally wide, the last with 1.
    """
    kind, true, values = kinds(answers["role"]), right(answers), answers["probability1"].to_numpy(dtype=np.float64)
    edges = np.arange(SCORE_BINS + 1) / SCORE_BINS
    groups = {
        "known_right": (kind == "known") & true,
        "known_wrong": (kind == "known") & ~true,
        "unknown": kind == "unknown",
    }
    counts = {name: np.histogram(values[of], edges)[0] for name, of in groups.items()}
    return pd.DataFrame({"least": edges[:-1], "most": edges[1:], **counts})


def ranks(answers: pd.DataFrame) -> pd.DataFrame:
    """Count queries of known whales by the rank of the truth: `rank,queries,whales_alone`; rank 0 is beyond five.

    `queries` has `new_whale` ranked at the threshold, `whales_alone` leaves it out.
    """
    known = answers[kinds(answers["role"]) == "known"]
    order = [*range(1, PLACES + 1), 0]
    counts = [
        np.bincount(of.astype(int), minlength=PLACES + 1)[order] for of in (known["rank"].to_numpy(), places(known) + 1)
    ]
    return pd.DataFrame({"rank": order, "queries": counts[0], "whales_alone": counts[1]})


def photo_classes(answers: pd.DataFrame, photos_of_whale: "pd.Series[int]") -> list[int]:
    """Return, for each query, the row of `photos` that counts it; -1 where its whale is not known."""
    known = kinds(answers["role"]) == "known"
    classes = np.searchsorted(PHOTOS, _photos_compared(answers, photos_of_whale), side="right")
    rows = np.where(known, np.searchsorted(np.unique(classes[known]), classes), -1)
    return [int(row) for row in rows]


def photos(answers: pd.DataFrame, photos_of_whale: "pd.Series[int]") -> pd.DataFrame:
    """Return MAP@5 of the queries of known whales by their whale's photos: `least,most,queries,map5`.

    `photos_of_whale` is the number of photos that validation is compared with, by whale. Classes without queries have
    no row.
    """
    known = answers[kinds(answers["role"]) == "known"]
    number = _photos_compared(known, photos_of_whale)
    classes = np.searchsorted(PHOTOS, number, side="right")  # 0: whales without a photo to compare with
    gained = gains(known)
    rows = []
    for of in np.unique(classes):
        held = classes == of
        least = PHOTOS[of - 1] if of else 0
        most = PHOTOS[of] - 1 if of < len(PHOTOS) else int(number.max())
        rows.append((least, most, int(held.sum()), float(gained[held].mean())))
    return pd.DataFrame(rows, columns=["least", "most", "queries", "map5"])


def ends(answers: pd.DataFrame, shares: Shares) -> dict[str, list[Ends]]:
    """Return the 95 % interval of each figure of `measuring.measured`, at each of `THRESHOLDS` and, last, at `auto`.

    `answers` are decided at `auto`; without a threshold there is one interval.
    """
    own = answers["threshold"].to_numpy(dtype=np.float64)[:, None]
    grid = np.broadcast_to(THRESHOLDS, (len(own), len(THRESHOLDS)))
    rank = ranks_at(answers, np.zeros_like(own) if np.isnan(own).all() else np.hstack([grid, own]))
    counted = kinds(answers["role"]) != ""
    rows = answers[counted]
    figures = measures.answered(rows, intervals.resamplings(rows["cluster"].to_numpy()), *shares, rank[counted])
    for role in measures.APART:
        of = (answers["role"] == role).to_numpy()
        if of.any():
            figures |= measures.apart(
                answers[of], intervals.resamplings(answers.loc[of, "cluster"].to_numpy()), rank[of]
            )
    return {key: [_ends(values) for values in columns.T] for key, columns in figures.items()}


def _ends(values: npt.NDArray[np.float64]) -> Ends:
    figures = intervals.with_intervals({"figure": values})
    return [float(f"{figures[key]:.6g}") for key in ("figure_low", "figure_high")]  # as in the figures' JSON files


def _gains(rank: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.where(rank > 0, 1 / np.maximum(rank, 1), 0.0)


def _photos_compared(answers: pd.DataFrame, photos_of_whale: "pd.Series[int]") -> npt.NDArray[np.int64]:
    return answers["whale"].map(photos_of_whale).fillna(0).to_numpy().astype(np.int64)
